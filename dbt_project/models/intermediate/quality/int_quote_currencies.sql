{{ config(materialized='view') }}
-- The currency in which each source quotes an asset, read off the source's name for it: Binance's BTCUSDT is in USDT,
-- Polygon's X:BTCUSD and Yahoo's BTC-USD in USD. They are different instruments, some basis points apart at all times.
with

names as (
    {% for source, column in {
        'polygon': 'polygon', 'binance': 'coalesce(binance, binance_futures)', 'yahoo': 'yahoo'
    }.items() -%}
    select
        symbol,
        asset_class,
        '{{ source }}' as source,
        max({{ column }}) as provider_symbol
    from {{ ref('assets') }}
    where {{ column }} is not null
    group by symbol, asset_class
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        symbol,
        asset_class,
        source,
        case
            when asset_class <> 'crypto' then 'USD'
            {% for currency in ['FDUSD', 'USDT', 'USDC', 'BUSD', 'TUSD', 'USD', 'EUR', 'BTC', 'ETH'] -%}
            when provider_symbol like '%{{ currency }}' then '{{ currency }}'
            {% endfor -%}
            else 'unknown'
        end as currency
    from names
)

select * from final
