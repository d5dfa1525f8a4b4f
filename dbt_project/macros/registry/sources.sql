{#- The list of sources: var `sources` of dbt_project.yml, which says what its entries mean. No model and no other macro
    names a provider: they ask for those with a trait. extract reads the same list (extract/core/sources.py). -#}

{# The names of the sources that have a trait, or of all, in the order of the list. #}
{% macro sources(trait=none) -%}
    {%- set found = [] -%}
    {%- for name, traits in var('sources').items() if trait is none or traits.get(trait) -%}
        {%- do found.append(name) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{# The names of the sources under whose symbols a kind of data is asked for: bars, quiet_bars, derivatives, exchange_inflow. #}
{% macro sources_of(data) -%}
    {%- set found = [] -%}
    {%- for name, traits in var('sources').items() if data in traits.symbols -%}
        {%- do found.append(name) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{# The names of the sources whose answers hold rows that are no bars (splits, samples, flows): each has a staging view of those
   that are rejected, stg_<source>__rejected_rows. #}
{% macro sources_of_rows() -%}
    {%- set found = [] -%}
    {%- for name, traits in var('sources').items() -%}
        {%- if traits.get('actions') or traits.symbols.keys() | reject('in', ['bars', 'quiet_bars']) | list -%}
            {%- do found.append(name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{# Condition: a source is one of some. Of none it is false, so that a trait that no source has leaves SQL that runs. #}
{% macro is_source(column, names) -%}
    {%- if names -%}
    {{ column }} in ('{{ names | join("', '") }}')
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}

{# Condition: one of some sources is among those that made a bar: a resampled one names several, joined by '+'. #}
{% macro holds_source(column, names) -%}
    (
        {%- for name in names %}
        {{- ' or ' if not loop.first }}{{ column }} like '%{{ name }}%'
        {%- else %}
        {{- 'false' }}
        {%- endfor -%}
    )
{%- endmacro %}

{# Condition: a source gives prices as they were traded. Those that adjust them for later splits are the others. #}
{% macro is_as_traded_source(column) -%}
    {{ is_source(column, sources_of('bars') | reject('in', sources('adjusts_for_splits')) | list) }}
{%- endmacro %}

{# The order of sources for assets that name none: FALLBACK_SOURCE_PRIORITY, or that of the list; commas between them. #}
{% macro source_priority() -%}
    {{ return(var('source_priority') or sources_of('bars') | join(',')) }}
{%- endmacro %}

{# SQL: a source's name of an asset for a kind of data, of the asset's cells (row_as_json of a row of the registry). The
   cells and not the columns: a registry that was written before a source was added lacks the column. #}
{% macro provider_symbol(cells, source, data) -%}
    coalesce(
        {%- for column in var('sources')[source].symbols[data] -%}
        {{ json_text(cells, column) }}{{ ', ' if not loop.last }}
        {%- endfor -%}
        {{- ', null' if var('sources')[source].symbols[data] | length == 1 -}}
    )
{%- endmacro %}

{# SQL: all names that the sources have of an asset, as one text: `column name`, blanks between them. #}
{% macro all_provider_symbols(cells) -%}
    concat_ws(
        ' '
        {%- set columns = [] -%}
        {%- for traits in var('sources').values() -%}
            {%- for named in traits.symbols.values() -%}
                {%- do columns.extend(named | reject('in', columns) | list) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- for column in columns -%}
        , '{{ column }} ' || {{ json_text(cells, column) }}
        {%- endfor -%}
    )
{%- endmacro %}

{# Condition: an answer is one that would have reported an asset's splits, or its dividends, as the list says of the
   sources. `answers` is a row of stg_ops__answers. #}
{% macro is_answer_about(kind, answers) -%}
    (
        {%- set ns = namespace(is_first=true) -%}
        {%- for source in sources('actions') -%}
            {%- for asked in var('sources')[source].actions[kind] -%}
                {%- set endpoint, timeframe = (asked.split(' ') + [none])[:2] %}
        {{ 'or ' if not ns.is_first }}({{ answers }}.source = '{{ source }}' and {{ answers }}.endpoint = '{{ endpoint }}'
            {%- if timeframe %} and {{ answers }}.timeframe = '{{ timeframe }}'{% endif %})
                {%- set ns.is_first = false -%}
            {%- endfor -%}
        {%- endfor %}
    )
{%- endmacro %}

{# SQL: the rows of the staging view `stg_<source>__<view>` of every source of a kind of data, with their `source`. #}
{% macro staged(data, view) -%}
    {%- for source in sources_of(data) %}
        select '{{ source }}' as source, * from {{ ref('stg_' ~ source ~ '__' ~ view) }}
        {%- if not loop.last %}
        union all
        {%- endif %}
    {%- endfor %}
{%- endmacro %}
