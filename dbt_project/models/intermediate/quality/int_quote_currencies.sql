{{ config(materialized='view') }}
-- The currency in which each source quotes an asset: a stock in that of its market; of a pair it is read off the source's
-- name for it: Binance's BTCUSDT is in USDT, Polygon's X:BTCUSD and Yahoo's BTC-USD in USD. They are different
-- instruments, some basis points apart at all times.
with

names as (
    {% for source, column in {
        'polygon': 'polygon', 'binance': 'coalesce(binance, binance_futures)', 'yahoo': 'yahoo'
    }.items() -%}
    select
        symbol,
        asset_class,
        '{{ source }}' as source,
        max({{ column }}) as provider_symbol,
        max({{ calendar_of('assets') }}) as calendar
    from {{ ref('assets') }} as assets
    where {{ column }} is not null
    group by symbol, asset_class
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        names.symbol,
        names.asset_class,
        names.source,
        case
            when names.asset_class <> 'crypto' then coalesce(calendars.currency, 'unknown')
            {% for currency in ['FDUSD', 'USDT', 'USDC', 'BUSD', 'TUSD', 'USD', 'EUR', 'BTC', 'ETH'] -%}
            when names.provider_symbol like '%{{ currency }}' then '{{ currency }}'
            {% endfor -%}
            else 'unknown'
        end as currency
    from names
    left join {{ ref('calendars') }} as calendars on calendars.calendar = names.calendar
)

select * from final
