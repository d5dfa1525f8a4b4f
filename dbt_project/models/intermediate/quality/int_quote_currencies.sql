{{ config(materialized='view') }}
-- The currency in which each source quotes an asset: a stock in that of its market; of a pair it is read off the source's
-- name for it: Binance's BTCUSDT is in USDT, Polygon's X:BTCUSD and Yahoo's BTC-USD in USD. They are different
-- instruments, some basis points apart at all times.
with

names as (
    select
        provider_symbols.symbol,
        provider_symbols.asset_class,
        provider_symbols.source,
        max(provider_symbols.provider_symbol) as provider_symbol,
        max({{ calendar_of('assets') }}) as calendar
    from {{ ref('int_provider_symbols') }} as provider_symbols
    inner join {{ ref('assets') }} as assets
        on assets.symbol = provider_symbols.symbol and assets.asset_class = provider_symbols.asset_class
    where provider_symbols.used_for = 'bars'
    group by provider_symbols.symbol, provider_symbols.asset_class, provider_symbols.source
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
