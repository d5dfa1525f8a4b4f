{{ config(materialized='view') }}
-- Days on which prices and corporate actions contradict each other: a jump by a split's ratio that nobody reports a split
-- for, a split after which the price went on as if there had been none or jumped by another ratio, a source's rows that
-- contradict each other, and prices of a source that adjusts of which nothing shows whether they are adjusted. The log return
-- runs through the splits that are known, so it is about the ratio's logarithm where one is missed: only such days are looked
-- at, and those with a split.
with

splits as (
    select
        symbol,
        asset_class,
        ex_date,
        source,
        split_to / split_from as ratio
    from {{ ref('int_splits') }}
    where split_to <> split_from
),

bars as (
    select
        days.symbol,
        days.asset_class,
        days.session_date,
        days.open,
        days.close,
        days.log_return,
        days.source,
        -- In the shares of this day.
        days.close / exp(days.log_return) as continuous_close_before
    from {{ ref('market_data', v=2) }} as days
    left join splits
        on splits.symbol = days.symbol and splits.asset_class = days.asset_class and splits.ex_date = days.session_date
    where
        days.timeframe = {{ day_timeframe() }}
        and days.asset_class not in ('crypto', 'index')
        and days.open > 0
        and days.close > 0
        and (abs(days.log_return) > 0.3 or (splits.symbol is not null and abs(days.log_return) > 0.12))
),

ratios as (
    {% for ratio in ['1.5', '2', '3', '4', '5', '6', '7', '8', '10', '15', '20', '25', '30', '50', '100'] -%}
    select cast({{ ratio }} as numeric) as ratio
    union all
    select 1 / cast({{ ratio }} as numeric) as ratio
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

jumps as (
    select
        bars.symbol,
        bars.asset_class,
        bars.session_date,
        'jump without a split' as suspicion,
        bars.continuous_close_before as close_before,
        bars.open,
        bars.close,
        ratios.ratio,
        bars.source,
        row_number() over (
            partition by bars.symbol, bars.asset_class, bars.session_date
            order by abs(ln(bars.continuous_close_before / bars.open / ratios.ratio)) asc
        ) as place
    from bars
    inner join ratios
        on
            -- The open jumps by the ratio nearly exactly, and the day keeps near to it.
            abs(ln(bars.continuous_close_before / bars.open / ratios.ratio)) <= {{ var('split_jump_tolerance') }}
            and abs(ln(bars.continuous_close_before / bars.close / ratios.ratio)) <= 3 * {{ var('split_jump_tolerance') }}
    left join splits
        on splits.symbol = bars.symbol and splits.asset_class = bars.asset_class and splits.ex_date = bars.session_date
    where splits.symbol is null and abs(bars.log_return) > 0.3
),

missed as (
    select
        bars.symbol,
        bars.asset_class,
        bars.session_date,
        case
            when abs(ln(bars.continuous_close_before * splits.ratio / bars.open)) < 0.5 * abs(ln(splits.ratio))
                then 'split without a jump'
            else 'split of another ratio than its jump'
        end as suspicion,
        bars.continuous_close_before * splits.ratio as close_before,
        bars.open,
        bars.close,
        splits.ratio,
        splits.source
    from bars
    inner join splits
        on splits.symbol = bars.symbol and splits.asset_class = bars.asset_class and splits.ex_date = bars.session_date
    where
        -- Of a ratio below 5:4 a day's own move may be as large.
        (
            abs(ln(splits.ratio)) > 0.2
            and abs(ln(bars.continuous_close_before * splits.ratio / bars.open)) < 0.5 * abs(ln(splits.ratio))
        )
        -- More than a share moves overnight on such a day, and the day keeps to it.
        or (
            abs(ln(bars.continuous_close_before / bars.open)) > 0.15
            and abs(ln(bars.continuous_close_before / bars.close)) > 0.12
        )
),

contradictory as (
    select
        reported.symbol,
        reported.asset_class,
        reported.ex_date as session_date,
        'two ' || reported.kind || 's of one date' as suspicion,
        reported.source
    from {{ ref('corporate_actions') }} as actions
    inner join {{ ref('int_actions_reported') }} as reported
        on
            reported.symbol = actions.symbol
            and reported.asset_class = actions.asset_class
            and reported.kind = actions.kind
            and reported.ex_date = actions.ex_date
            and reported.alternatives is not null
    where actions.verdict = 'contradictory'
),

-- Left out: the bars of these answers fail a check.
unclear as (
    select
        series.symbol,
        series.asset_class,
        {{ local_date('bases.fetched_at', 'series.time_zone') }} as session_date,
        case
            when bases.basis_problem = 'basis undecided'
                then 'adjusted for the split of ' || cast(bases.unclear_ex_date as text) || ' or not'
            else 'splits before it was asked unknown'
        end as suspicion,
        bases.source
    from {{ ref('int_price_bases') }} as bases
    inner join {{ ref('int_series') }} as series on series.series_id = bases.series_id
    where
        bases.basis_problem is not null
        -- As long as a bar depends on it.
        and exists (
            select 1
            from {{ ref('market_data', v=2) }} as existing_rows
            where
                existing_rows.symbol = series.symbol
                and existing_rows.asset_class = series.asset_class
                and existing_rows.timeframe = series.timeframe
                and existing_rows.fetched_at = bases.fetched_at
                and existing_rows.session_date >= bases.first_session
                and existing_rows.session_date < bases.next_first_session
                and not existing_rows.is_validated
        )
),

suspected as (
    select symbol, asset_class, session_date, suspicion, close_before, open, close, ratio, source, 1 as place
    from missed
    union all
    select symbol, asset_class, session_date, suspicion, close_before, open, close, ratio, source, 2
    from jumps
    where place = 1
    union all
    select symbol, asset_class, session_date, suspicion, null, null, null, null, source, 3
    from contradictory
    union all
    select symbol, asset_class, session_date, suspicion, null, null, null, null, source, 4
    from unclear
),

-- The first of a day, one row.
ranked as (
    select
        *,
        row_number() over (
            partition by symbol, asset_class, session_date order by place, suspicion, source
        ) as rank_of_day
    from suspected
),

final as (
    select
        symbol,
        asset_class,
        session_date,
        suspicion,
        {{ fits('close_before', 19, 4) }} as close_before,
        open,
        close,
        {{ fits('ratio', 20, 10) }} as ratio,
        cast(source as varchar(20)) as source
    from ranked
    where rank_of_day = 1
)

select * from final
