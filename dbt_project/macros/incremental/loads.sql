{#-
  Incremental models read changed rows by load, not by time: every committed dlt load gets a dense number (int_loads), and each
  model keeps, in the transaction that writes its rows, the highest load it has processed (ops.watermarks). A global
  time watermark drops series that report late; a load number cannot, because a load is numbered when it is committed.
-#}

{# Whether a relation is not there. While the project is parsed, all are. #}
{% macro is_missing(schema, relation) -%}
    {{ return(not execute or adapter.get_relation(database=target.database, schema=schema, identifier=relation) is none) }}
{%- endmacro %}

{# Whether this run builds a model (or one of several) from nothing: it is not there yet, or a full refresh was asked for. #}
{% macro is_full_build(model) -%}
    {%- if not execute or flags.FULL_REFRESH -%}{{ return(true) }}{%- endif -%}
    {%- if model is not string -%}
        {%- for one in model if is_full_build(one) -%}{{ return(true) }}{%- endfor -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(relation_of(model) is none) }}
{%- endmacro %}

{# The highest load that a model (of several: that every one) has processed, as a literal (the planner can then use an
   index); 0 = build in full. #}
{% macro watermark(model) -%}
    {%- if not execute or is_full_build(model) -%}{{ return(0) }}{%- endif -%}
    {%- if model is not string -%}
        {%- set marks = [] -%}
        {%- for one in model -%}{%- do marks.append(watermark(one)) -%}{%- endfor -%}
        {{ return(marks | min) }}
    {%- endif -%}
    {%- set found = run_query("select batch from ops.watermarks where model = '" ~ model ~ "'") -%}
    {{ return(found.columns[0].values()[0] if found.rows else 0) }}
{%- endmacro %}

{# SQL: the highest load that all the named parents have processed. int_loads itself knows all that are registered. By
   name also within a model's query: there a unit test puts a relation of another name in the place of a ref(). #}
{% macro processed_by(parents) -%}
    {{ 'least' if parents | length > 1 }}(
    {%- for parent in parents %}
        {%- if parent == 'int_loads' %}
        (select coalesce(max(batch), 0) from {{ ref('int_loads') }})
        {%- else %}
        (select coalesce(max(batch), 0) from ops.watermarks where model = '{{ parent }}')
        {%- endif %}{{ ',' if not loop.last }}
    {%- endfor %}
    )
{%- endmacro %}

{# Post-hook, in the model's own transaction: the model has now processed all that its parents, given by ref(), had. A model
   that prepares the changed rows for another says which (`prepares`, by name: a ref() to what reads it would be a circle), so
   that its own range is known: since which load it reads. `stamp` is that of the rows it wrote or read, see written_at(). #}
{% macro advance_watermark(parents, prepares=none, stamp=none) %}
    {%- for parent in parents if parent is string -%}
        {{ exceptions.raise_compiler_error("advance_watermark takes ref('" ~ parent ~ "'), not its name") }}
    {%- endfor %}
    merge into ops.watermarks as existing
    using (
        select
            '{{ this.identifier }}' as model,
            {{ watermark(prepares) if prepares else 'cast(null as bigint)' }} as since_batch,
            {{ processed_by(parents | map(attribute='identifier') | list) }} as batch,
            cast({{ stamp or 'null' }} as {{ instant_type() }}) as written_at
    ) as reached
        on existing.model = reached.model
    when matched then
        update set
            since_batch = reached.since_batch, batch = reached.batch, began_at = current_timestamp,
            advanced_at = {{ this_moment() }}, written_at = reached.written_at
    when not matched then
        insert (model, since_batch, batch, began_at, advanced_at, written_at)
        values (
            reached.model, reached.since_batch, reached.batch, current_timestamp, {{ this_moment() }},
            reached.written_at
        )
{% endmacro %}

{# Pre-hook of a model whose changed rows another model, given by ref(), prepares: a full build from a part of them would
   keep that part only. #}
{% macro require_full_input(preparation) %}
    {%- if execute and is_full_build(this.identifier) -%}
        {%- set found = run_query("select since_batch from ops.watermarks where model = '" ~ preparation.identifier ~ "'") -%}
        {%- if found.rows and found.columns[0].values()[0] != 0 -%}
            {{ exceptions.raise_compiler_error(this.identifier ~ " is to be built in full, but " ~ preparation.identifier ~ " holds only the latest changed rows. Build both: dbt build --full-refresh --select " ~ preparation.identifier ~ "+") }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# Condition: the row's load is one that `model` has not processed. Load ids become literals on an incremental run, so
   that the filter reaches the raw table below a view before any payload is unnested. Other loads than those after
   the model's watermark: `since`. #}
{% macro is_new_load(model, load_id, since=none) -%}
    {%- if not execute or since == 0 or is_full_build(model) -%}
    {{ load_id }} in (select known.load_id from {{ ref('int_loads') }} as known)
    {%- else -%}
    {%- set found = run_query("select load_id from " ~ ref('int_loads') ~ " where batch > " ~ (since if since is not none else watermark(model))) -%}
    {{ load_id }} in ('{{ (found.columns[0].values() | list + ['none']) | join("', '") }}')
    {%- endif -%}
{%- endmacro %}

{# The series whose answers a reader of payloads (of several: any) reads again from the first on, since what aligns their
   rows changed (int_series_fingerprints). None on a full build, which reads everything. #}
{% macro replaced_series(reader) -%}
    {%- if not execute or is_full_build(reader) -%}{{ return([]) }}{%- endif -%}
    {{ return(run_query(
        "select series_id, symbol, asset_class, timeframe from " ~ ref('int_series_fingerprints')
        ~ " where aligned_in_batch > " ~ watermark(reader) ~ " order by series_id"
    ).rows) }}
{%- endmacro %}

{# Condition: the row (of a table, if named) is of a replaced series, recognized by its name. Literals, as in is_new_load(): the
   filter reaches the raw table before any payload is unnested. #}
{% macro is_of_replaced_series(reader, table=none) -%}
    {%- set prefix = table ~ '.' if table else '' -%}
    {%- set names = [] -%}
    {%- for series in replaced_series(reader) -%}
        {%- do names.append("('" ~ series['symbol'] | replace("'", "''") ~ "', '" ~ series['asset_class'] ~ "', '" ~ series['timeframe'] ~ "')") -%}
    {%- endfor -%}
    {{ '(' ~ prefix ~ 'symbol, ' ~ prefix ~ 'asset_class, ' ~ prefix ~ 'timeframe) in (' ~ names | join(', ') ~ ')' if names else 'false' }}
{%- endmacro %}

{# Pre-hook, in the model's own transaction: deletes the rows of replaced series before their answers are read again. #}
{% macro delete_replaced_series(by='series_id') %}
    {%- set replaced = replaced_series(this.identifier) if is_incremental() else [] %}
    {%- if replaced %}
    delete from {{ this }}
    where {{ is_of_replaced_series(this.identifier) if by == 'name' else 'series_id in (' ~ replaced | map(attribute='series_id') | join(', ') ~ ')' }}
    {%- endif %}
{% endmacro %}

{# The bars to look at again since a load: those on which a source reported something, and all bars of a series whose rules,
   splits or bases changed (is_reselected 1); a bar may be there more than once. #}
{% macro changed_bars(since) -%}
    (
        select series_id, opened_at, 0 as is_reselected
        from {{ ref('int_bar_revisions') }}
        where batch > {{ since }}

        union all

        select revisions.series_id, revisions.opened_at, 1 as is_reselected
        from {{ ref('int_bar_revisions') }} as revisions
        inner join (
            select series_id
            from {{ ref('int_series_fingerprints') }}
            where changed_in_batch > {{ since }}

            union

            select series.series_id
            from {{ ref('int_series') }} as series
            inner join {{ ref('int_splits') }} as splits
                on splits.symbol = series.symbol and splits.asset_class = series.asset_class
            where splits.changed_in_batch > {{ since }}

            union

            -- Another basis of an answer that was processed before.
            select bases.series_id
            from {{ ref('int_price_bases') }} as bases
            where bases.changed_in_batch > {{ since }} and bases.batch <= {{ since }}
        ) as changed_series on changed_series.series_id = revisions.series_id
    ) as changed_rows
{%- endmacro %}

{# Post-hook for a table whose rows a later model of the same run joins: without statistics Postgres chose a merge join
   that threw 38 million rows away (22.6 s instead of 2.5 s). Of `columns` only, if named: a wide table's other columns
   cost most of the time (the mart: 0.2 s instead of 0.9), and autovacuum, which takes such a table for one that was
   never looked at, sees to them within a minute. #}
{% macro analyze(columns=none) %}{{ return(adapter.dispatch('analyze', 'market_warehouse')(columns)) }}{% endmacro %}
{% macro default__analyze(columns) %}{% endmacro %}
{% macro postgres__analyze(columns) %}
    analyze {{ this }}{{ ' (' ~ columns | join(', ') ~ ')' if columns }}
{% endmacro %}

{# The same for a table that grows: autovacuum keeps its statistics up to date afterwards. #}
{% macro analyze_new_table(columns=none) %}
    {%- if not is_incremental() %}
    {{- analyze(columns) }}
    {%- endif %}
{% endmacro %}
