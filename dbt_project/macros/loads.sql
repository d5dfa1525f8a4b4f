{#-
  Incremental models read news by load, not by time: every committed dlt load gets a dense number (int_loads), and each
  model keeps, in the transaction that writes its rows, the highest load it has worked in (ops.watermarks). A global
  time watermark drops series that report late; a load number cannot, because a load is numbered when it is committed.
-#}

{# Landing tables, so that `dbt build` works before the first extract. dlt adopts tables that it finds. Those that are
   there are not touched: `create ... if not exists` asks for the right to create before it looks, and a role that only
   transforms has none in raw_* (market roles). #}
{% macro create_landing_zone() %}
    {%- for provider in ['polygon', 'binance', 'yahoo', 'coinmetrics'] %}
    {%- if is_missing('raw_' ~ provider, 'responses') or is_missing('raw_' ~ provider, '_dlt_loads') %}
    create schema if not exists raw_{{ provider }};
    create table if not exists raw_{{ provider }}.responses (
        run_id text, symbol text, asset_class text, provider_symbol text, endpoint text, origin text,
        timeframe text, window_start timestamp with time zone, window_end timestamp with time zone, status text,
        payload jsonb, bad_payload text, payload_sha text, row_count bigint, http_status bigint, response_ms bigint,
        quota_remaining bigint, breaker_state text, error text, requested_at timestamp with time zone,
        fetched_at timestamp with time zone, first_row_at timestamp with time zone, last_row_at timestamp with time zone,
        _dlt_load_id text not null
    );
    create table if not exists raw_{{ provider }}._dlt_loads (
        load_id varchar not null, schema_name varchar, status bigint not null,
        inserted_at timestamp with time zone not null, schema_version_hash varchar
    );
    {%- endif %}
    {%- endfor %}
    {%- if is_missing('ops', 'watermarks') %}
    create schema if not exists ops;
    create table if not exists ops.watermarks (
        model text primary key, since_load_no bigint, load_no bigint not null,
        advanced_at timestamp with time zone not null,
        -- began_at and advanced_at: the model's last run on the real clock; written_at: the stamp of the last rows it
        -- wrote (market_data_v2) or read of it (its readers), on the warehouse's.
        began_at timestamp with time zone, written_at timestamp with time zone
    );
    {%- elif 'written_at' not in adapter.get_columns_in_relation(api.Relation.create(database=target.database, schema='ops', identifier='watermarks')) | map(attribute='name') %}
    alter table ops.watermarks add column began_at timestamp with time zone, add column written_at timestamp with time zone;
    {%- endif %}
    {%- if is_missing('ops', 'deleted_bars') %}
    create table if not exists ops.deleted_bars (
        id bigint primary key, deleted_at timestamp with time zone not null
    );
    {%- endif %}
    {%- if is_missing('ops', 'rebuilds') %}
    create table if not exists ops.rebuilds (
        written_at timestamp with time zone primary key, features text not null
    );
    {%- endif %}
    {%- if is_missing('ops', 'manual_corrections') %}
    create table if not exists ops.manual_corrections (
        correction_id bigint generated always as identity primary key,
        symbol text not null, asset_class text not null, timeframe text not null,
        opened_at timestamp with time zone not null, is_withdrawal boolean not null,
        open numeric, high numeric, low numeric, close numeric, volume numeric, taker_buy_volume numeric,
        fields_corrected text, reason text not null, corrected_by text not null,
        corrected_at timestamp with time zone not null,
        -- On the real clock, as dlt's: loads are numbered by it.
        recorded_at timestamp with time zone not null default clock_timestamp()
    );
    {%- endif %}
    {%- if is_missing('ops', 'computations') %}
    create table if not exists ops.computations (
        build_id text, series_id integer, began_at timestamp with time zone not null, error text,
        primary key (build_id, series_id)
    );
    {%- endif %}
    {%- for table in ['circuit_breaker', 'source_budget', 'backfill_jobs', 'backfill_series', 'pipeline_runs', 'pipeline_steps', 'alerts'] if is_missing('ops', table) %}
    {{- ops_tables() if loop.first }}
    {%- endfor %}
{% endmacro %}

{# Whether a relation is not there. While the project is parsed, all are. #}
{% macro is_missing(schema, relation) -%}
    {{ return(not execute or adapter.get_relation(database=target.database, schema=schema, identifier=relation) is none) }}
{%- endmacro %}

{# Whether this run builds a model (or one of several) from nothing: it is not there yet, or a full refresh was asked for. #}
{% macro starts_anew(model) -%}
    {%- if not execute or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- if model is not string -%}
        {%- for one in model if starts_anew(one) -%}{{ return(true) }}{%- endfor -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set schema = 'intermediate' if model.startswith('int_') else 'marts' -%}
    {{ return(adapter.get_relation(database=target.database, schema=schema, identifier=model) is none) }}
{%- endmacro %}

{# The highest load that a model (of several: that every one) has worked in, as a literal (the planner can then use an
   index); 0 = start anew. #}
{% macro watermark(model) -%}
    {%- if not execute or starts_anew(model) -%}{{ return(0) }}{%- endif -%}
    {%- if model is not string -%}
        {%- set marks = [] -%}
        {%- for one in model -%}{%- do marks.append(watermark(one)) -%}{%- endfor -%}
        {{ return(marks | min) }}
    {%- endif -%}
    {%- set found = run_query("select load_no from ops.watermarks where model = '" ~ model ~ "'") -%}
    {{ return(found.columns[0].values()[0] if found.rows else 0) }}
{%- endmacro %}

{# SQL: the highest load that all the named parents have worked in. int_loads itself knows all that are registered. #}
{% macro worked_in_by(parents) -%}
    least(
    {%- for parent in parents %}
        {%- if parent == 'int_loads' %}
        (select coalesce(max(load_no), 0) from {{ ref('int_loads') }})
        {%- else %}
        (select coalesce(max(load_no), 0) from ops.watermarks where model = '{{ parent }}')
        {%- endif %}{{ ',' if not loop.last }}
    {%- endfor %}
    )
{%- endmacro %}

{# Post-hook, in the model's own transaction: the model has now worked in all that its parents had. A model that
   prepares the news for another says which (`prepares`), so that its own reach is known: since which load it
   reads. `stamp` is that of the rows it wrote or read, see written_at(). #}
{% macro advance_watermark(parents, prepares=none, stamp=none) %}
    merge into ops.watermarks as kept
    using (
        select
            '{{ this.identifier }}' as model,
            {{ watermark(prepares) if prepares else 'cast(null as bigint)' }} as since_load_no,
            {{ worked_in_by(parents) }} as load_no,
            cast({{ stamp or 'null' }} as timestamp with time zone) as written_at
    ) as reached
        on kept.model = reached.model
    when matched then
        update set
            since_load_no = reached.since_load_no, load_no = reached.load_no, began_at = current_timestamp,
            advanced_at = clock_timestamp(), written_at = reached.written_at
    when not matched then
        insert (model, since_load_no, load_no, began_at, advanced_at, written_at)
        values (
            reached.model, reached.since_load_no, reached.load_no, current_timestamp, clock_timestamp(),
            reached.written_at
        )
{% endmacro %}

{# Pre-hook of a model whose news another model prepares: built anew from a part of the news it would keep that part
   only. #}
{% macro require_whole(preparation) %}
    {%- if execute and not flags.EMPTY and starts_anew(this.identifier) -%}
        {%- set found = run_query("select since_load_no from ops.watermarks where model = '" ~ preparation ~ "'") -%}
        {%- if found.rows and found.columns[0].values()[0] != 0 -%}
            {{ exceptions.raise_compiler_error(this.identifier ~ " is to be built anew, but " ~ preparation ~ " holds the latest news only. Build both: dbt build --full-refresh --select " ~ preparation ~ "+") }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# Condition: the row's load is one that `model` has not worked in. Load ids become literals on an incremental run, so
   that the filter reaches the raw table below a view before any payload is unnested. #}
{% macro is_new_load(model, load_id) -%}
    {%- if not execute or starts_anew(model) -%}
    {{ load_id }} in (select known.load_id from {{ ref('int_loads') }} as known)
    {%- else -%}
    {%- set found = run_query("select load_id from " ~ ref('int_loads') ~ " where load_no > " ~ watermark(model)) -%}
    {{ load_id }} in ('{{ (found.columns[0].values() | list + ['none']) | join("', '") }}')
    {%- endif -%}
{%- endmacro %}

{# The series whose answers a reader of payloads (of several: any) reads again from the first on, since what places their
   rows changed (int_series_rules). None where it starts anew: then it reads all of all. #}
{% macro replaced_series(reader) -%}
    {%- if not execute or flags.EMPTY or starts_anew(reader) -%}{{ return([]) }}{%- endif -%}
    {{ return(run_query(
        "select series_id, symbol, asset_class, timeframe from " ~ ref('int_series_rules')
        ~ " where placed_in_load > " ~ watermark(reader) ~ " order by series_id"
    ).rows) }}
{%- endmacro %}

{# Condition: the row (of a table, if named) is of a replaced series, told by its name. Literals, as in is_new_load(): the
   filter reaches the raw table before any payload is unnested. #}
{% macro is_of_replaced_series(reader, table=none) -%}
    {%- set prefix = table ~ '.' if table else '' -%}
    {%- set names = [] -%}
    {%- for series in replaced_series(reader) -%}
        {%- do names.append("('" ~ series['symbol'] | replace("'", "''") ~ "', '" ~ series['asset_class'] ~ "', '" ~ series['timeframe'] ~ "')") -%}
    {%- endfor -%}
    {{ '(' ~ prefix ~ 'symbol, ' ~ prefix ~ 'asset_class, ' ~ prefix ~ 'timeframe) in (' ~ names | join(', ') ~ ')' if names else 'false' }}
{%- endmacro %}

{# Pre-hook, in the model's own transaction: what it holds of replaced series goes before it is read anew. #}
{% macro forget_replaced_series(by='series_id') %}
    {%- set replaced = replaced_series(this.identifier) if is_incremental() else [] %}
    {%- if replaced %}
    delete from {{ this }}
    where {{ is_of_replaced_series(this.identifier) if by == 'name' else 'series_id in (' ~ replaced | map(attribute='series_id') | join(', ') ~ ')' }}
    {%- endif %}
{% endmacro %}

{# The bars to look at again since a load: those on which a source said something, and all bars of a series whose rules or
   splits changed (is_reselected 1); a bar may be there more than once. #}
{% macro bars_with_news(since) -%}
    (
        select series_id, opened_at, 0 as is_reselected
        from {{ ref('int_bar_revisions') }}
        where load_no > {{ since }}

        union all

        select revisions.series_id, revisions.opened_at, 1 as is_reselected
        from {{ ref('int_bar_revisions') }} as revisions
        inner join (
            select series_id
            from {{ ref('int_series_rules') }}
            where changed_in_load > {{ since }}

            union

            select series.series_id
            from {{ ref('int_series') }} as series
            inner join {{ ref('int_splits') }} as splits
                on splits.symbol = series.symbol and splits.asset_class = series.asset_class
            where splits.changed_in_load > {{ since }}
        ) as changed_series on changed_series.series_id = revisions.series_id
    ) as news
{%- endmacro %}

{# Post-hook for a table whose rows a later model of the same run joins: without statistics Postgres chose a merge join
   that threw 38 million rows away (22.6 s instead of 2.5 s). Of `columns` only, if named: a wide table's other columns
   cost most of the time (the mart: 0.2 s instead of 0.9), and autovacuum, which takes such a table for one that was
   never looked at, sees to them within a minute. #}
{% macro analyze(columns=none) %}
    analyze {{ this }}{{ ' (' ~ columns | join(', ') ~ ')' if columns }}
{% endmacro %}

{# The same for a table that grows: autovacuum keeps its statistics up to date afterwards. #}
{% macro analyze_new_table(columns=none) %}
    {%- if not is_incremental() %}
    {{- analyze(columns) }}
    {%- endif %}
{% endmacro %}
