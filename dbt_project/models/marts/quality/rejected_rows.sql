{%- set since = watermark_before_moved_loads('rejected_rows') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['symbol', 'asset_class', 'kind']}],
        pre_hook=['{{ delete_rows_of_former_version() }}', '{{ delete_since_moved_loads() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}"]
    )
}}
-- Rows of answers that could not become a split, dividend, settlement, sample, liquidation or inflow, with the reason and
-- the row as it was received; bars have rejected_bars. Of an answer about the whole market the rows of our own assets
-- count. A row that is sent again is counted again.
with

loads as (
    select batch, provider, load_id
    from {{ ref('int_loads') }}
),

listings as (
    select
        source,
        provider_symbol as ticker,
        max(symbol) as symbol,
        max(asset_class) as asset_class
    from {{ ref('int_provider_symbols') }}
    where used_for = 'bars'
    group by source, provider_symbol
),

rejected as (
    {% for provider in sources_of_rows() -%}
    select * from {{ ref('stg_' ~ provider ~ '__rejected_rows') }}
    where {{ is_new_load('rejected_rows', 'load_id', since) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        cast(rejected.source as varchar(20)) as source,
        cast(rejected.kind as text) as kind,
        coalesce(rejected.symbol, listings.symbol) as symbol,
        coalesce(rejected.asset_class, listings.asset_class) as asset_class,
        rejected.timeframe,
        rejected.timestamp,
        rejected.reject_reason as reason,
        rejected.payload_row,
        rejected.window_start,
        rejected.fetched_at,
        cast(loads.batch as integer) as batch
    from rejected
    inner join loads on loads.provider = rejected.source and loads.load_id = rejected.load_id
    left join listings
        on rejected.symbol is null and listings.source = rejected.source and listings.ticker = rejected.ticker
    where coalesce(rejected.symbol, listings.symbol) is not null
)

select * from final
