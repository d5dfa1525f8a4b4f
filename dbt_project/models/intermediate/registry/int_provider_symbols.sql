{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['symbol', 'asset_class']}],
        post_hook=['{{ analyze() }}']
    )
}}
-- The names that each source has of each asset, one row per row of the registry, source and kind of data. The registry has
-- a column per name, as its users write it; this is the one place that reads the columns, by the list of sources.
with

assets as (
    select
        symbol,
        asset_class,
        active_from,
        active_to,
        {{ row_as_json('assets') }} as cells
    from {{ ref('assets') }} as assets
),

named as (
    {% for source in sources() -%}
    {% set last_source = loop.last -%}
    {% for data in var('sources')[source].symbols -%}
    select
        symbol,
        asset_class,
        active_from,
        active_to,
        '{{ source }}' as source,
        '{{ data }}' as used_for,
        {{ provider_symbol('cells', source, data) }} as provider_symbol
    from assets
    {% if not (last_source and loop.last) %}union all{% endif %}
    {% endfor -%}
    {% endfor %}
)

select * from named
where provider_symbol is not null
