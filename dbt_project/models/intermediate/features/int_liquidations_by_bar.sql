{{
    config(
        indexes=[{'columns': ['series_id', 'opened_at']}],
        post_hook=['{{ analyze() }}']
    )
}}
-- Forced orders within each of this run's bars, in coins of the bars; only bars that the stream was watched through from open
-- to close have a row, so "none" and "not watching" differ.
with

watched_bars as (
    select
        bars.series_id,
        bars.range_no,
        bars.opened_at,
        bars.closed_at,
        bars.symbol,
        bars.asset_class
    from {{ ref('int_bars_to_compute') }} as bars
    inner join {{ ref('int_liquidation_coverage') }} as coverage
        on
            coverage.symbol = bars.symbol
            and coverage.asset_class = bars.asset_class
            and coverage.watched_from <= bars.opened_at
            and coverage.watched_to >= bars.closed_at
),

summed as (
    select
        watched_bars.series_id,
        watched_bars.range_no,
        watched_bars.opened_at,
        -- A SELL order closes a long.
        coalesce(
            sum(case when liquidations.side = 'SELL' then liquidations.quantity * coalesce(contracts.multiplier, 1) end), 0
        ) as sold,
        coalesce(
            sum(case when liquidations.side = 'BUY' then liquidations.quantity * coalesce(contracts.multiplier, 1) end), 0
        ) as bought
    from watched_bars
    left join {{ ref('int_liquidations') }} as liquidations
        on
            liquidations.symbol = watched_bars.symbol
            and liquidations.asset_class = watched_bars.asset_class
            and liquidations.traded_at >= watched_bars.opened_at
            and liquidations.traded_at < watched_bars.closed_at
    left join {{ ref('int_contracts') }} as contracts
        on
            contracts.symbol = liquidations.symbol
            and contracts.asset_class = liquidations.asset_class
            and contracts.named_from <= liquidations.traded_at
            and contracts.named_until > liquidations.traded_at
    group by watched_bars.series_id, watched_bars.range_no, watched_bars.opened_at
),

final as (
    select
        series_id,
        range_no,
        opened_at,
        {{ fits('sold', 28, 8) }} as liquidations_long,
        {{ fits('bought', 28, 8) }} as liquidations_short
    from summed
    where {{ fits('sold', 28, 8) }} + {{ fits('bought', 28, 8) }} is not null
)

select * from final
