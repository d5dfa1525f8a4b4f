{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['symbol', 'asset_class', 'first_session'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- What market_data_adjusted multiplies by, per asset and range of sessions: the share of a price that is left when all
-- dividends with a later ex-date are taken out, and the split factor of today. Both change with every new dividend or
-- split, for all of the past: that is why they are a table of a few rows per asset and no column of the bars.
with

-- What is announced for a later day changes nothing yet.
today as (
    select {{ local_date(warehouse_now(), "'America/New_York'") }} as on_date
),

assets as (
    select
        symbol,
        asset_class
    from {{ ref('assets') }}
    group by symbol, asset_class
),

dividends as (
    select dividends.*
    from {{ ref('int_dividend_factors') }} as dividends
    inner join today on dividends.ex_date <= today.on_date
    where dividends.dividend_factor > 0
),

-- From when on each asset's dividends were asked for: before, nobody knows of none.
asked as (
    select
        symbol,
        asset_class,
        min({{ local_date('window_start', "'America/New_York'") }}) as known_from
    from {{ ref('stg_ops__answers') }}
    where
        status in ('ok', 'unchanged')
        and symbol is not null
        and (
            (source = 'polygon' and endpoint = 'dividends')
            or (source = 'yahoo' and endpoint = 'bars' and timeframe = '1d')
        )
    group by symbol, asset_class
),

ranges as (
    select
        symbol,
        asset_class,
        lag(ex_date, 1, date '0001-01-01') over (partition by symbol, asset_class order by ex_date) as first_session,
        ex_date as next_first_session,
        round(exp(sum(ln(dividend_factor)) over (
            partition by symbol, asset_class order by ex_date desc rows between unbounded preceding and current row
        )), 12) as dividend_factor
    from dividends

    union all

    select
        assets.symbol,
        assets.asset_class,
        coalesce(max(dividends.ex_date), date '0001-01-01'),
        date '9999-12-31',
        1
    from assets
    left join dividends on dividends.symbol = assets.symbol and dividends.asset_class = assets.asset_class
    group by assets.symbol, assets.asset_class
),

final as (
    select
        ranges.symbol,
        ranges.asset_class,
        ranges.first_session,
        ranges.next_first_session,
        cast(ranges.dividend_factor as numeric(20, 12)) as dividend_factor,
        -- A coin pays none.
        case when ranges.asset_class = 'crypto' then date '0001-01-01' else asked.known_from end as dividends_known_from,
        cast(coalesce(factors.split_factor, 1) as numeric(38, 24)) as split_factor_today
    from ranges
    cross join today
    left join asked on asked.symbol = ranges.symbol and asked.asset_class = ranges.asset_class
    left join {{ ref('int_split_factors') }} as factors
        on
            factors.symbol = ranges.symbol
            and factors.asset_class = ranges.asset_class
            and factors.first_session <= today.on_date
            and factors.next_first_session > today.on_date
)

select * from final
