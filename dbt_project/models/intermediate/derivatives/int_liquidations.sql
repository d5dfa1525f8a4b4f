{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['symbol', 'asset_class', 'traded_at']}],
        pre_hook=['{{ delete_replaced_assets() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Forced orders, each once however often the stream or a reconnect repeated it. The price only serves to distinguish orders: one
-- without a price is still a forced order.
with

arrived as (
    select
        liquidations.symbol,
        liquidations.asset_class,
        liquidations.traded_at,
        liquidations.side,
        cast(liquidations.quantity as numeric(28, 8)) as quantity,
        cast(coalesce(liquidations.average_price, 0) as numeric(19, 10)) as average_price,
        min(loads.batch) as changed_in_batch
    from ({{ staged('derivatives', 'liquidations') }}) as liquidations
    inner join {{ ref('int_loads') }} as loads on loads.provider = liquidations.source and loads.load_id = liquidations.load_id
    where
        (
            {{ is_new_load('int_liquidations', 'liquidations.load_id') }}
            or {{ is_of_replaced_asset('int_liquidations', 'liquidations') }}
        )
        and abs(liquidations.quantity) < 1e20
        and coalesce(abs(liquidations.average_price), 0) < 1e9
    group by
        liquidations.symbol, liquidations.asset_class, liquidations.traded_at, liquidations.side,
        liquidations.quantity, liquidations.average_price
)

select arrived.* from arrived
{% if is_incremental() -%}
{{ left_join_existing('arrived', ['symbol', 'asset_class', 'traded_at', 'side', 'quantity', 'average_price']) }}
where existing.symbol is null
{%- endif %}
