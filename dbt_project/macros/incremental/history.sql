{#-
  The history of market_data_v2. All rows that one run of the mart writes carry one stamp, and each run's is later than
  the last: what was written since is then a range of updated_at, also when the clock is frozen (WAREHOUSE_NOW) or
  two runs follow within a second.
-#}

{# The stamp of this run of the mart. #}
{% macro written_at() -%}
    greatest(
        {{ warehouse_now() }},
        (
            select marks.written_at + interval '1 microsecond'
            from ops.watermarks as marks
            where marks.model = 'market_data_v2'
        )
    )
{%- endmacro %}

{# The stamp of the mart's last run, or that up to which another model has read the mart. #}
{% macro last_written_at(model='market_data_v2') -%}
    (select marks.written_at from ops.watermarks as marks where marks.model = '{{ model }}')
{%- endmacro %}

{# The stamp up to which `model` has read the mart, as a literal: the planner can then estimate how few rows are later. #}
{% macro read_up_to(model) -%}
    {%- set found = [] -%}
    {#- Of a model whose table is not there (a restored dump has its mark) nothing is read: corrections were lost by it. -#}
    {%- if execute and (model == 'market_data_history' or not is_full_build(model)) -%}
        {%- set found = run_query("select cast(extract(epoch from written_at) * 1000000 as bigint) from ops.watermarks where model = '" ~ model ~ "' and written_at is not null").columns[0].values() -%}
    {%- endif -%}
    {%- if found -%}
    {{ instant_from_epoch(found[0]) }}
    {%- else -%}
    timestamp with time zone '0001-01-01 00:00:00+00'
    {%- endif -%}
{%- endmacro %}

{# Post-hook of the mart: bars that the registry no longer gives their series (a source was taken off its list, its
   alignment changed) leave it, and are recorded in ops.deleted_bars for the models that store rows about them. #}
{% macro delete_inactive_bars() %}{{ return(adapter.dispatch('delete_inactive_bars', 'market_warehouse')()) }}{% endmacro %}
{% macro default__delete_inactive_bars() %}{% endmacro %}
{% macro postgres__delete_inactive_bars() %}
    {%- set history = adapter.get_relation(database=target.database, schema='snapshots', identifier='market_data_history') -%}
    {%- if is_incremental() %}
    merge into ops.deleted_bars as entries
    using (
        {%- if is_rebuilt_in_place('market_data_v2') %}
        select mart.id
        from {{ this }} as mart
        left join (
            select cast(series_id as bigint) * 4294967296 + {{ epoch_seconds('opened_at') }} as id
            from {{ ref('int_bars') }}
        ) as bars
            on bars.id = mart.id
        where bars.id is null
        {%- else %}
        select mart.id
        from {{ this }} as mart
        inner join (
            select series_id, opened_at
            from {{ ref('int_bars_selected') }}
            where not is_active and changed_in_batch > {{ watermark('market_data_v2') }}
            union
            select series_id, opened_at
            from {{ ref('int_bars_resampled') }}
            where not is_active and changed_in_batch > {{ watermark('market_data_v2') }}
        ) as inactive
            on mart.id = cast(inactive.series_id as bigint) * 4294967296 + {{ epoch_seconds('inactive.opened_at') }}
        where not exists (
            select 1
            from {{ ref('int_bars') }} as bars
            where bars.series_id = inactive.series_id and bars.opened_at = inactive.opened_at
        )
        {%- endif %}
    ) as vanished
        on vanished.id = entries.id
    when matched then update set deleted_at = {{ written_at() }}
    when not matched then insert (id, deleted_at) values (vanished.id, {{ written_at() }});

    delete from {{ this }} as mart
    using ops.deleted_bars as entries
    where entries.id = mart.id and entries.deleted_at = {{ written_at() }}
    {%- elif history is not none %}
    -- A full build: what was there before and is not any more.
    merge into ops.deleted_bars as entries
    using (
        select history.id
        from {{ history }} as history
        left join {{ this }} as mart on mart.id = history.id
        where history.dbt_valid_to is null and mart.id is null
    ) as vanished
        on vanished.id = entries.id
    when matched then update set deleted_at = {{ written_at() }}
    when not matched then insert (id, deleted_at) values (vanished.id, {{ written_at() }})
    {%- endif %}
{% endmacro %}

{# Pre-hook of the mart: records which features this run rebuilds (all of them after an upgrade that has what is derived
   made again, or those that are new), so that what a corrected formula changed can be distinguished from what sources did. A full
   refresh is no such note: with the same formulas it must give the same values. #}
{% macro record_rebuild() %}
    {%- set rebuilt = rebuilt_features() %}
    {%- if is_incremental() and is_rebuilt_in_place('market_data_v2') %}
        {%- set rebuilt = new_columns('market_data_v2') | list or features() | list %}
    {%- endif %}
    {%- if rebuilt %}
    insert into ops.rebuilds (written_at, features)
    values ({{ written_at() }}, '{{ rebuilt | join(' ') }}')
    {%- endif %}
{% endmacro %}

{# Pre-hook of the history: a column that the mart has got is added, empty, before versions are compared by it. #}
{% macro add_new_columns_to_history() %}
    {%- set history = adapter.get_relation(database=target.database, schema='snapshots', identifier='market_data_history') if execute -%}
    {%- if history is not none and history %}
    {%- set existing = adapter.get_columns_in_relation(history) | map(attribute='name') | list %}
    {%- for column in adapter.get_columns_in_relation(ref('market_data', v=2)) if column.name not in existing %}
    alter table {{ history }} add column {{ adapter.quote(column.name) }} {{ column.data_type }};
    {%- endfor %}
    {%- endif %}
{% endmacro %}

{# dbt's own statement compares all current rows of a snapshot with all of its relation. This one reads the rows of the
   mart that were written since the snapshot's last run and, by index, their versions in force; the deleted bars are
   those that the mart lists, never what merely is not there. #}
{% macro postgres__snapshot_staging_table(strategy, source_sql, target_relation) -%}
    {%- if target_relation.identifier != 'market_data_history' -%}
        {{ return(default__snapshot_staging_table(strategy, source_sql, target_relation)) }}
    {%- endif -%}
    {%- set columns = get_columns_in_query(source_sql) -%}
    {%- set since = read_up_to(target_relation.identifier) -%}
    with

    changed as (
        select
            source_data.*,
            snapshotted_data.dbt_scd_id as superseded_scd_id
        from (
            {{ source_sql }}
        ) as source_data
        left join {{ target_relation }} as snapshotted_data
            on snapshotted_data.id = source_data.id and snapshotted_data.dbt_valid_to is null
        where
            source_data.updated_at > {{ since }}
            and {{ differs('source_data', 'snapshotted_data', 'id', compared_columns()) }}
    ),

    deleted as (
        select
            snapshotted_data.*,
            entries.deleted_at
        from ops.deleted_bars as entries
        inner join {{ target_relation }} as snapshotted_data
            on snapshotted_data.id = entries.id and snapshotted_data.dbt_valid_to is null
        where
            entries.deleted_at > {{ since }}
            -- It may have come back meanwhile.
            and not exists (
                select 1
                from {{ ref('market_data', v=2) }} as mart
                where mart.id = entries.id
            )
    )

    {%- set parts = {
        'insert': {'rows': 'changed', 'ends': 'cast(null as timestamp with time zone)', 'scd_id': strategy.scd_id},
        'update': {'rows': 'changed', 'ends': 'updated_at', 'scd_id': 'superseded_scd_id'},
        'delete': {'rows': 'deleted', 'ends': 'deleted_at', 'scd_id': 'dbt_scd_id'},
    } %}
    {%- for change_type, part in parts.items() %}
    select
        '{{ change_type }}' as dbt_change_type,
        {%- for column in columns %}
        {{ adapter.quote(column) }},
        {%- endfor %}
        id as dbt_unique_key,
        updated_at as dbt_updated_at,
        updated_at as dbt_valid_from,
        {{ part.ends }} as dbt_valid_to,
        {{ part.scd_id }} as dbt_scd_id
    from {{ part.rows }}
    {{ 'where superseded_scd_id is not null' if change_type == 'update' }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# dbt's own statement finds a version to end by its hash alone, which would need an index of its own: two fifths of what
   the indexes of the first history cost, and 32 MB of a million versions. This one finds it among those of its bar. #}
{% macro postgres__snapshot_merge_sql(target, source, insert_cols) -%}
    {%- if target.identifier != 'market_data_history' -%}
        {{ return(default__snapshot_merge_sql(target, source, insert_cols)) }}
    {%- endif -%}
    update {{ target }} as history
    set dbt_valid_to = ended.dbt_valid_to
    from {{ source }} as ended
    where
        ended.dbt_change_type in ('update', 'delete')
        and history.id = ended.id
        and history.dbt_scd_id = ended.dbt_scd_id
        and history.dbt_valid_to is null;

    insert into {{ target }} ({{ insert_cols | join(', ') }})
    select {{ insert_cols | join(', ') }}
    from {{ source }}
    where dbt_change_type = 'insert'
{%- endmacro %}

{# Pre-hook of the mart: should the history not have read what the mart's last run wrote (a build that selected the mart
   alone, one that broke off between the two), it does now, before this run writes over it. Nothing else to do on any
   other run. #}
{% macro catch_up_history() %}{{ return(adapter.dispatch('catch_up_history', 'market_warehouse')()) }}{% endmacro %}
{% macro default__catch_up_history() %}{% endmacro %}
{% macro postgres__catch_up_history() %}
    {%- set history = adapter.get_relation(database=target.database, schema='snapshots', identifier='market_data_history') if execute -%}
    {%- set behind = run_query("select 1 from ops.watermarks as mart left join ops.watermarks as history on history.model = 'market_data_history' where mart.model = 'market_data_v2' and mart.written_at > coalesce(history.written_at, timestamp with time zone '0001-01-01 00:00:00+00')").rows if execute -%}
    {%- if history and behind and load_cached_relation(this) is not none %}
    {%- set names = adapter.get_columns_in_relation(history) | map(attribute='name') | reject('in', ['dbt_scd_id', 'dbt_updated_at', 'dbt_valid_from', 'dbt_valid_to']) | list %}
    {%- set since = read_up_to('market_data_history') %}
    update {{ history }} as history
    set dbt_valid_to = entries.deleted_at
    from ops.deleted_bars as entries
    where
        entries.id = history.id
        and entries.deleted_at > {{ since }}
        and history.dbt_valid_to is null
        and not exists (select 1 from {{ this }} as mart where mart.id = entries.id);

    update {{ history }} as history
    set dbt_valid_to = mart.updated_at
    from {{ this }} as mart
    where
        mart.id = history.id
        and mart.updated_at > {{ since }}
        and history.dbt_valid_to is null
        and {{ differs('mart', 'history', 'id', names | reject('in', ['id', 'computed_at', 'updated_at']) | list) }};

    insert into {{ history }} ({{ names | join(', ') }}, dbt_scd_id, dbt_updated_at, dbt_valid_from)
    select
        {%- for name in names %}
        mart.{{ name }},
        {%- endfor %}
        {{ snapshot_hash_arguments(['mart.id', 'mart.updated_at']) }},
        mart.updated_at,
        mart.updated_at
    from {{ this }} as mart
    left join {{ history }} as history on history.id = mart.id and history.dbt_valid_to is null
    where mart.updated_at > {{ since }} and history.id is null;

    update ops.watermarks
    set written_at = {{ last_written_at() }}
    where model = 'market_data_history'
    {%- endif %}
{% endmacro %}

{# Post-hook of the history: records up to where it has read the mart. #}
{% macro advance_history() %}
    {{ advance_watermark([ref('market_data', v=2)], stamp=last_written_at()) }}
{% endmacro %}

{# Post-hook of the history: the function marts.market_data_as_of. It names its columns instead of the mart's row type, so
   that a rebuild of the mart does not take it away; Postgres inlines it, so a condition on symbol, timeframe or
   timestamp reaches the index below. #}
{% macro create_as_of_function() %}{{ return(adapter.dispatch('create_as_of_function', 'market_warehouse')()) }}{% endmacro %}
{% macro default__create_as_of_function() %}{% endmacro %}
{% macro postgres__create_as_of_function() %}
    {%- if execute %}
    {%- set columns = adapter.get_columns_in_relation(this) | rejectattr('name', 'in', ['dbt_scd_id', 'dbt_updated_at', 'dbt_valid_from', 'dbt_valid_to']) | list -%}
    {%- set names = columns | map(attribute='name') | list -%}
    {%- set found = run_query("select array_to_string(proargnames, ',') from pg_proc where oid = to_regprocedure('marts.market_data_as_of(timestamp with time zone)')").columns[0].values() -%}
    {%- if found and found[0] != (['as_of'] + names) | join(',') %}
    drop function marts.market_data_as_of(timestamp with time zone);
    {%- endif %}
    create schema if not exists marts;
    create or replace function marts.market_data_as_of(as_of timestamp with time zone)
    returns table (
        {%- for column in columns %}
        {{ adapter.quote(column.name) }} {{ column.data_type }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
    language sql stable parallel safe
    as $function$
        select
            {%- for name in names %}
            history.{{ adapter.quote(name) }}{{ ',' if not loop.last }}
            {%- endfor %}
        -- Without the database: a copy of it, or a dump that was restored, has another name.
        from {{ this.include(database=false) }} as history
        where history.dbt_valid_from <= as_of and (history.dbt_valid_to > as_of or history.dbt_valid_to is null)
    $function$;
    comment on function marts.market_data_as_of(timestamp with time zone) is
        'market_data_v2 as it was known at that instant, features included. Name symbol and timeframe: it then reads an index.'
    {%- endif %}
{% endmacro %}

{# Post-hook of the history: statistics of the new table, which the same run reads; autovacuum keeps them up to date. #}
{% macro analyze_once() %}
    {%- if execute and run_query("select 1 from pg_class where oid = to_regclass('" ~ this ~ "') and reltuples < 0").rows %}
    analyze {{ this }}
    {%- endif %}
{% endmacro %}

{# Post-hook of data_corrections: deletes what is recorded of a deleted bar (the history keeps it; should the bar come back,
   so does this). Then nobody needs the list of deleted bars any more. #}
{% macro delete_corrections_of_deleted_bars() %}
    delete from {{ this }} as corrections
    using ops.deleted_bars as entries
    where
        entries.id = corrections.original_record_id
        and not exists (
            select 1
            from {{ ref('market_data', v=2) }} as mart
            where mart.id = entries.id
        );

    delete from ops.deleted_bars
    where deleted_at <= (
        select marks.written_at
        from ops.watermarks as marks
        where marks.model = 'market_data_history'
    )
{% endmacro %}
