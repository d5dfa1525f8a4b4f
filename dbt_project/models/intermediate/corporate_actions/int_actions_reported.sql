{{ config(materialized='table_in_place', post_hook=['{{ analyze() }}']) }}
-- What each source says now of the splits and dividends of our assets: its latest observation of each event. A ticker is an
-- asset's while the registry says so, so an event of the company that had it before is not ours. Rows that contradict each
-- other on a split are decided by the prices: the ratio of the jump over the ex-date, or none. A split that is struck by
-- hand is one of 1:1. Yahoo's charts lack events for a day now and then: a split that one passes over is retracted when
-- the prices are taken back to what they were, or show no jump, and stays as long as they are as they were.
with

observations as (
    select
        *,
        row_number() over (partition by source, kind, ticker, ex_date order by observation_no desc) as age
    from {{ ref('int_action_observations') }}
),

listings as (
    select
        source,
        provider_symbol as ticker,
        symbol,
        asset_class,
        coalesce(active_from, date '0001-01-01') as active_from,
        coalesce(active_to, date '9999-12-31') as active_to
    from {{ ref('int_provider_symbols') }}
    where used_for = 'bars'
),

latest as (
    select
        listings.symbol,
        listings.asset_class,
        observations.kind,
        observations.ticker,
        observations.ex_date,
        observations.source,
        observations.is_retracted,
        observations.split_to,
        observations.split_from,
        observations.amount,
        observations.currency,
        observations.alternatives,
        observations.timeframe,
        observations.fetched_at,
        observations.batch
    from observations
    inner join listings
        on
            listings.source = observations.source
            and listings.ticker = observations.ticker
            and observations.ex_date >= listings.active_from
            and observations.ex_date <= listings.active_to
    where observations.age = 1
),

-- What a source reported before it passed the split over.
passed_over as (
    select
        latest.symbol,
        latest.asset_class,
        latest.ex_date,
        latest.source,
        latest.fetched_at,
        latest.batch,
        observations.split_to,
        observations.split_from,
        row_number() over (
            partition by latest.symbol, latest.asset_class, latest.ex_date order by observations.observation_no desc
        ) as place
    from latest
    inner join observations
        on
            observations.source = latest.source
            and observations.kind = latest.kind
            and observations.ticker = latest.ticker
            and observations.ex_date = latest.ex_date
    where
        {{ is_source('latest.source', sources('omits_actions_at_times')) }}
        and latest.kind = 'split'
        and latest.is_retracted
        and observations.split_to is not null
),

series as (
    select
        series_id,
        symbol,
        asset_class,
        step_minutes,
        time_zone
    from {{ ref('int_series') }}
    where step_minutes <= 1440
),

-- One split that a source reports for two dates, or two splits of one ratio within days: the prices decide.
twins as (
    select
        symbol,
        asset_class,
        source,
        ex_date
    from (
        select
            symbol,
            asset_class,
            source,
            ex_date,
            lag(ex_date) over of_one_ratio as ex_date_before,
            lead(ex_date) over of_one_ratio as ex_date_after
        from latest
        where kind = 'split' and not is_retracted and split_to is not null
        window of_one_ratio as (
            partition by symbol, asset_class, source, round(split_to / split_from, 12)
            order by ex_date
        )
    ) as dated
    where
        {{ days_between('ex_date', 'ex_date_before') }} <= {{ var('same_split_days') }}
        or {{ days_between('ex_date_after', 'ex_date') }} <= {{ var('same_split_days') }}
),

-- The jump of as-traded prices over an ex-date that is in question: of days, or of the longest bars there are.
questions as (
    select
        latest.symbol,
        latest.asset_class,
        latest.ex_date
    from latest
    where latest.kind = 'split' and (latest.alternatives is not null or latest.is_retracted)
    union
    select
        symbol,
        asset_class,
        ex_date
    from twins
),

jumps as (
    select
        questions.symbol,
        questions.asset_class,
        questions.ex_date,
        found.log_jump,
        row_number() over (
            partition by questions.symbol, questions.asset_class, questions.ex_date
            order by found.step_minutes desc, found.log_jump asc
        ) as place
    from questions
    inner join lateral (
        select
            series.step_minutes,
            ln(before_bar.close / after_bar.open) as log_jump
        from series
        inner join lateral (
            select bars.close
            from {{ ref('int_bar_revisions') }} as bars
            where
                bars.series_id = series.series_id
                and bars.opened_at < {{ local_instant('questions.ex_date', "'00:00'", 'series.time_zone') }}
                and bars.opened_at
                >= {{ local_instant('questions.ex_date', "'00:00'", 'series.time_zone') }} - interval '8 days'
                and bars.close > 0
                and (
                    {{ is_as_traded_source('bars.source') }}
                    or (
                        {{ is_source('bars.source', sources('adjusts_for_splits')) }}
                        and bars.fetched_at
                        < {{ local_instant('questions.ex_date', "'00:00'", 'series.time_zone') }} - interval '4 days'
                    )
                )
            order by bars.opened_at desc, bars.source asc, bars.revision desc
            limit 1
        ) as before_bar on true
        inner join lateral (
            select bars.open
            from {{ ref('int_bar_revisions') }} as bars
            where
                bars.series_id = series.series_id
                and bars.opened_at >= {{ local_instant('questions.ex_date', "'00:00'", 'series.time_zone') }}
                and bars.opened_at
                < {{ local_instant('questions.ex_date', "'00:00'", 'series.time_zone') }} + interval '8 days'
                and bars.open > 0
            order by bars.opened_at asc, bars.source asc, bars.revision desc
            limit 1
        ) as after_bar on true
        where series.symbol = questions.symbol and series.asset_class = questions.asset_class
    ) as found on true
),

still_in_prices as (
    select
        passed_over.symbol,
        passed_over.asset_class,
        passed_over.ex_date,
        passed_over.source,
        passed_over.split_to,
        passed_over.split_from
    from passed_over
    inner join series
        on
            series.symbol = passed_over.symbol
            and series.asset_class = passed_over.asset_class
            and series.step_minutes = 1440
    inner join lateral (
        select
            bars.opened_at,
            bars.close
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = series.series_id
            and bars.source = passed_over.source
            and bars.opened_at < {{ local_instant('passed_over.ex_date', "'00:00'", 'series.time_zone') }}
            and bars.close > 0
            and {{ was_observed_by('bars', 'passed_over') }}
        order by bars.opened_at desc, bars.revision desc
        limit 1
    ) as now_bar on true
    inner join lateral (
        select bars.close
        from {{ ref('int_bar_revisions') }} as bars
        where
            bars.series_id = series.series_id
            and bars.source = passed_over.source
            and bars.opened_at = now_bar.opened_at
            and bars.close > 0
            and {{ was_observed_by('bars', 'passed_over', or_with=false) }}
        order by bars.revision desc
        limit 1
    ) as bar_before on true
    left join jumps
        on
            jumps.symbol = passed_over.symbol
            and jumps.asset_class = passed_over.asset_class
            and jumps.ex_date = passed_over.ex_date
            and jumps.place = 1
    where
        passed_over.place = 1
        and abs(ln(bar_before.close / now_bar.close)) < 0.3 * abs(ln(passed_over.split_to / passed_over.split_from))
        and coalesce(abs(jumps.log_jump - ln(passed_over.split_to / passed_over.split_from)) < abs(jumps.log_jump), true)
),

-- Equal ratios are one; without a jump there was no split.
candidates as (
    select
        symbol,
        asset_class,
        ex_date,
        source,
        min(split_to) as split_to,
        min(split_from) as split_from
    from (
        select
            latest.symbol,
            latest.asset_class,
            latest.ex_date,
            latest.source,
            cast({{ part_of_pair('reported.item', 1) }} as {{ number_type() }}) as split_to,
            cast({{ part_of_pair('reported.item', 2) }} as {{ number_type() }}) as split_from
        from latest
        cross join lateral {{ items_of('latest.alternatives') }} as reported
        where latest.kind = 'split'
        union all
        select
            symbol,
            asset_class,
            ex_date,
            source,
            1 as split_to,
            1 as split_from
        from latest
        where kind = 'split' and alternatives is not null
    ) as ratios
    group by symbol, asset_class, ex_date, source, round(split_to / split_from, 12)
),

measured as (
    select
        candidates.*,
        abs(jumps.log_jump - ln(candidates.split_to / candidates.split_from)) as distance
    from candidates
    inner join jumps
        on
            jumps.symbol = candidates.symbol
            and jumps.asset_class = candidates.asset_class
            and jumps.ex_date = candidates.ex_date
            and jumps.place = 1
),

ranked as (
    select
        *,
        row_number() over in_order as place,
        lead(distance) over in_order as next_distance
    from measured
    window in_order as (partition by symbol, asset_class, ex_date, source order by distance, split_to, split_from)
),

borne_out as (
    select *
    from ranked
    where place = 1 and distance <= 0.5 * next_distance and next_distance - distance >= 0.1
),

reported as (
    select
        latest.symbol,
        latest.asset_class,
        latest.kind,
        latest.ex_date,
        latest.source,
        latest.is_retracted and still_in_prices.symbol is null as is_retracted,
        coalesce(latest.split_to, borne_out.split_to, still_in_prices.split_to) as split_to,
        coalesce(latest.split_from, borne_out.split_from, still_in_prices.split_from) as split_from,
        latest.amount,
        latest.currency,
        latest.alternatives,
        latest.timeframe,
        latest.fetched_at,
        latest.batch,
        -- Of a split that is reported for two dates: how far the jump over this one is from its ratio.
        twins.symbol is not null as is_reported_twice,
        case
            when twins.symbol is not null then abs(jumps.log_jump - ln(latest.split_to / latest.split_from))
        end as jump_distance
    from latest
    left join twins
        on
            latest.kind = 'split'
            and twins.symbol = latest.symbol
            and twins.asset_class = latest.asset_class
            and twins.source = latest.source
            and twins.ex_date = latest.ex_date
    left join jumps
        on
            jumps.symbol = twins.symbol
            and jumps.asset_class = twins.asset_class
            and jumps.ex_date = twins.ex_date
            and jumps.place = 1
    left join borne_out
        on
            latest.kind = 'split'
            and latest.alternatives is not null
            and borne_out.symbol = latest.symbol
            and borne_out.asset_class = latest.asset_class
            and borne_out.ex_date = latest.ex_date
            and borne_out.source = latest.source
    left join still_in_prices
        on
            latest.kind = 'split'
            and latest.is_retracted
            and still_in_prices.symbol = latest.symbol
            and still_in_prices.asset_class = latest.asset_class
            and still_in_prices.ex_date = latest.ex_date
            and still_in_prices.source = latest.source
),

by_hand as (
    select
        actions.symbol,
        actions.asset_class,
        actions.kind,
        actions.ex_date,
        'manual' as source,
        false as is_retracted,
        case when actions.kind = 'split' then coalesce(actions.split_to, 1) end as split_to,
        case when actions.kind = 'split' then coalesce(actions.split_from, 1) end as split_from,
        case when actions.kind = 'dividend' then coalesce(actions.amount, 0) end as amount,
        cast(null as {{ text_type() }}) as currency,
        cast(null as {{ text_type() }}) as alternatives,
        '' as timeframe,
        actions.corrected_at as fetched_at,
        cast(loads.batch as integer) as batch,
        false as is_reported_twice,
        cast(null as {{ number_type() }}) as jump_distance
    from {{ ref('stg_ops__manual_actions') }} as actions
    inner join {{ ref('int_loads') }} as loads on loads.provider = 'manual' and loads.load_id = actions.load_id
    where actions.is_latest and actions.change <> 'withdraw'
),

final as (
    select
        symbol, asset_class, kind, ex_date, source, is_retracted, split_to, split_from, amount, currency, alternatives,
        timeframe, fetched_at, batch, is_reported_twice, jump_distance
    from reported
    union all
    select
        symbol, asset_class, kind, ex_date, source, is_retracted, split_to, split_from, amount, currency, alternatives,
        timeframe, fetched_at, batch, is_reported_twice, jump_distance
    from by_hand
)

select * from final
