{#- No window looks further than this many bars back, and none of a bar's values is seen further than that ahead. -#}
{% macro longest_window() %}{{ return(450) }}{% endmacro %}

{# Whether this run computes every bar anew: the mart is not there yet, or a full refresh was asked for. #}
{% macro is_whole_run() -%}
    {%- if not execute -%}{{ return(true) }}{%- endif -%}
    {%- set mart = adapter.get_relation(database=target.database, schema='marts', identifier='market_data_v2') -%}
    {{ return(flags.FULL_REFRESH or mart is none) }}
{%- endmacro %}

{# The highest load the mart has worked in, 0 when this run computes everything. #}
{% macro mart_watermark() -%}
    {%- if not execute or is_whole_run() -%}{{ return(0) }}{%- endif -%}
    {%- set found = run_query("select load_no from ops.watermarks where model = 'market_data_v2'") -%}
    {{ return(found.columns[0].values()[0] if found.rows else 0) }}
{%- endmacro %}

{# The bar that many valid bars before (descending) or after (ascending) a moment of a series; NULL if there are fewer.
   Bars live in two tables, and either alone reaches at least as far as both together, so each is asked. #}
{% macro bars_away(table, series_id, comparison, moment, direction) -%}
    (
        select case when count(*) = {{ longest_window() }} then {{ 'min' if direction == 'desc' else 'max' }}(reached.opened_at) end
        from (
            select bars.opened_at
            from {{ table }} as bars
            where bars.series_id = {{ series_id }} and bars.opened_at {{ comparison }} {{ moment }} and bars.is_valid
            order by bars.opened_at {{ direction }}
            limit {{ longest_window() }}
        ) as reached
    )
{%- endmacro %}

{# Pre-hook of the mart: a full refresh of the mart alone would read a frontier that was made for an increment and keep
   that slice only. #}
{% macro require_whole_frontier() %}
    {%- if execute and not is_incremental() -%}
        {%- set found = run_query("select count(*) from " ~ ref('int_frontier') ~ " where not reads_from_start or write_to < timestamp with time zone '9999-01-01 00:00:00+00'") -%}
        {%- if found.columns[0].values()[0] > 0 -%}
            {{ exceptions.raise_compiler_error("market_data_v2 is to be built anew, but int_frontier covers a part only. Build both: dbt build --full-refresh --select int_frontier+") }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{# Post-hook of the mart: bars that the registry no longer gives their series (a source taken off its list, another
   grid) leave it. #}
{% macro delete_unlisted_bars() %}
    {%- if is_incremental() %}
    delete from {{ this }} as mart
    using (
        select series_id, opened_at
        from {{ ref('int_bars_selected') }}
        where not is_listed and changed_in_load > {{ mart_watermark() }}
        union
        select series_id, opened_at
        from {{ ref('int_bars_resampled') }}
        where not is_listed and changed_in_load > {{ mart_watermark() }}
    ) as unlisted
    where
        mart.id = cast(unlisted.series_id as bigint) * 4294967296 + {{ epoch_seconds('unlisted.opened_at') }}
        and not exists (
            select 1
            from {{ ref('int_bars') }} as bars
            where bars.series_id = unlisted.series_id and bars.opened_at = unlisted.opened_at
        )
    {%- endif %}
{% endmacro %}
