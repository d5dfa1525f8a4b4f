{{ config(materialized='view') }}
-- Each observation of each source on each bar (a row of int_bar_revisions), as its series takes it: aligned to its expected
-- bar, ranked by its source, brought to as-traded prices, checked. Those of sources that the series does not list, or off its
-- alignment, are left out.
-- Subqueries instead of CTEs: Postgres plans a view with a CTE on its own, and each of the three readers would make the
-- observations of all bars to join a few (4 to 6 s a reader and run with 500,000 bars, on a busy machine).
select
    *,
    case
        when is_retracted then null
        when has_split_inside or basis_problem is not null or is_too_fine
            then
                concat_ws(
                    '; ',
                    basis_problem,
                    case when has_split_inside then 'split inside' end,
                    case when is_too_fine then 'a price finer than is stored' end,
                    {{ failed_bar_checks() }}
                )
        else {{ failed_bar_checks() }}
    end as failed_checks
from (
    select
        series_id,
        opened_at,
        closed_at,
        session_date,
        expected_no,
        asset_class,
        source,
        source_rank,
        batch,
        revision,
        fetched_at,
        is_retracted,
        split_factor,
        has_split_inside,
        basis_problem,
        {{ is_finer_as_traded() }} as is_too_fine,
        {{ as_traded_price('open') }} as open,
        {{ as_traded_price('high') }} as high,
        {{ as_traded_price('low') }} as low,
        {{ as_traded_price('close') }} as close,
        case
            when adjustment = 1 then volume
            when abs(volume / adjustment) < 1e20 then round(volume / adjustment, 0)
        end as volume,
        taker_buy_volume
    from (
        select
            revisions.*,
            series.asset_class,
            series.step_minutes,
            expected_bars.bar_date as session_date,
            case
                when series.step_minutes >= 1440 then expected_bars.closes_at
                else least(revisions.opened_at + {{ minutes('series.step_minutes') }}, expected_bars.closes_at)
            end as closed_at,
            expected_bars.expected_before + cast(
                ({{ epoch_seconds('revisions.opened_at') }} - {{ epoch_seconds('expected_bars.first_expected_at') }})
                / (series.step_minutes * 60) as integer
            ) as expected_no,
            -- A correction by hand comes before every source.
            case
                when revisions.source = 'manual' then 0
                else {{ position_in_list('revisions.source', 'series.sources_in_order') }}
            end as source_rank,
            cast(coalesce(factors.split_factor, 1) as numeric(38, 24)) as split_factor,
            -- A week as traded that holds an ex-date has prices in two bases.
            series.step_minutes = 10080
            and bases.is_adjusted_next is not true
            and coalesce(
                factors.next_first_session
                <= {{ local_date("expected_bars.closes_at - interval '1 second'", 'series.time_zone') }},
                false
            ) as has_split_inside,
            -- What an answer of a source that adjusts is divided by, as it shows itself.
            coalesce(bases.adjustment, 1) as adjustment,
            bases.basis_problem
        from {{ ref('int_bar_revisions') }} as revisions
        inner join {{ ref('int_series') }} as series on series.series_id = revisions.series_id
        inner join {{ ref('int_expected_bars') }} as expected_bars
            on
                expected_bars.calendar = series.calendar
                and expected_bars.timeframe = series.timeframe
                and expected_bars.alignment = series.alignment
                and expected_bars.bar_date = {{ local_date('revisions.opened_at', 'series.time_zone') }}
                -- A case, because Postgres takes an equation of two expressions to hold once in 200 rows: it then joined
                -- the observations of a run with each other in loops (40 s for 5,000 amended bars).
                and case
                    when
                        mod(
                            {{ epoch_seconds('revisions.opened_at') }} - {{ epoch_seconds('expected_bars.first_expected_at') }},
                            series.step_minutes * 60
                        ) = 0
                        then true
                end
        left join {{ ref('int_split_factors') }} as factors
            on
                factors.symbol = series.symbol
                and factors.asset_class = series.asset_class
                and factors.first_session <= expected_bars.bar_date
                and factors.next_first_session > expected_bars.bar_date
        left join {{ ref('int_price_bases') }} as bases
            on
                bases.source = revisions.source
                and bases.series_id = revisions.series_id
                and bases.batch = revisions.batch
                and bases.fetched_at = revisions.fetched_at
                and bases.first_session <= expected_bars.bar_date
                and bases.next_first_session > expected_bars.bar_date
        where
            (revisions.source = 'manual' or {{ position_in_list('revisions.source', 'series.sources_in_order') }} is not null)
            and {{ is_active_on('expected_bars.bar_date', last_day_of_bar('expected_bars.bar_date')) }}
    ) as aligned
) as as_traded
