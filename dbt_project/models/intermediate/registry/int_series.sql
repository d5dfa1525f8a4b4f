{%- set listed_from = "coalesce(assets.active_from, date '0001-01-01')" -%}
{%- set listed_to = "coalesce(assets.active_to, date '9999-12-31')" -%}
{{
    config(
        materialized='table_in_place',
        indexes=[{'columns': ['symbol', 'asset_class', 'timeframe'], 'unique': true}],
        post_hook=['{{ analyze() }}']
    )
}}
-- One row per series: (symbol, asset class, timeframe). A symbol with several registry rows over time (a rename) is one
-- series. Timeframes that are not fetched, or that no source of the asset has, are resampled from the finest one that is.
with

assets as (
    select
        *,
        coalesce(source_priority, '{{ source_priority() | replace(',', ' ') }}') as sources_in_order,
        {{ row_as_json('assets') }} as cells
    from {{ ref('assets') }} as assets
),

calendars as (
    select
        calendars.calendar,
        calendars.time_zone,
        -- What places its bars, and no other column: these are what md5(calendars.*) was of before there were others.
        {{ never_closes('calendars') }} as never_closes,
        concat_ws(
            '|', md5({{ row_as_text('placed') }}), (
                select max(exceptions.changed_in_batch)
                from {{ ref('int_session_exceptions') }} as exceptions
                where exceptions.calendar = calendars.calendar
            )
        ) as rules
    from {{ ref('calendars') }} as calendars
    cross join lateral (
        select
            calendars.calendar,
            calendars.time_zone,
            calendars.weekdays,
            calendars.opens,
            calendars.closes,
            calendars.first_session
    ) as placed
),

answers_with_bars as (
    select
        answers.source,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        min(answers.fetched_at) as first_fetched_at
    from {{ ref('stg_ops__answers') }} as answers
    inner join {{ ref('int_loads') }} as loads on loads.provider = answers.source and loads.load_id = answers.load_id
    where answers.endpoint = 'bars' and answers.row_count > 0
    group by answers.source, answers.symbol, answers.asset_class, answers.timeframe
),

fetched as (
    select
        assets.symbol,
        assets.asset_class,
        timeframes.timeframe,
        timeframes.step_minutes,
        max({{ calendar_of('assets') }}) as calendar,
        -- An empty date is no bound: a rename whose first row has none goes back to the beginning.
        case when count(assets.active_from) = count(*) then min(assets.active_from) end as active_from,
        case when count(assets.active_to) = count(*) then max(assets.active_to) end as active_to,
        -- Between two rows of a symbol it may have been inactive.
        sum({{ days_between(listed_to, listed_from) }} + 1)
        < {{ days_between('max(' ~ listed_to ~ ')', 'min(' ~ listed_from ~ ')') }} + 1
            as has_pause,
        {{ joined(
            "coalesce(cast(assets.active_from as " ~ text_type() ~ "), '') || '..' || coalesce(cast(assets.active_to as "
            ~ text_type() ~ "), '')",
            ' ',
            listed_from
        ) }} as active_ranges,
        {% for source in sources('names_whole_market') -%}
        {{ joined("coalesce(" ~ provider_symbol('assets.cells', source, 'bars') ~ ", '')", '|', listed_from) }}
            as {{ source }}_symbols,
        {% endfor -%}
        {{ joined("concat_ws(' ', assets.timeframes, " ~ all_provider_symbols('assets.cells') ~ ")", '|', listed_from) }}
            as all_names,
        max(assets.sources_in_order) as sources_in_order,
        max(
            case
                when
                    {{ position_in_list('timeframes.timeframe', 'assets.timeframes') }} is not null
                    and {{ is_served('assets', 'timeframes.timeframe') }}
                    then 1
                else 0
            end
        ) = 1 as is_fetched
    from assets
    cross join {{ ref('timeframes') }} as timeframes
    group by assets.symbol, assets.asset_class, timeframes.timeframe, timeframes.step_minutes
),

based as (
    select
        *,
        min(case when is_fetched then step_minutes end) over (partition by symbol, asset_class) as base_step_minutes
    from fetched
),

-- Polygon's hours lie on the clock (the first one of a stock's day is 09:00 and holds 09:30-10:00), Yahoo's and ours
-- start at the open. They are different bars, so a series has one alignment: that of the first source in its order that
-- has any.
leading_sources as (
    select
        based.symbol,
        based.asset_class,
        based.timeframe,
        answers_with_bars.source,
        row_number() over (
            partition by based.symbol, based.asset_class, based.timeframe
            order by {{ position_in_list('answers_with_bars.source', 'based.sources_in_order') }} asc nulls last
        ) as place
    from based
    inner join answers_with_bars
        on
            answers_with_bars.symbol = based.symbol
            and answers_with_bars.asset_class = based.asset_class
            and answers_with_bars.timeframe = based.timeframe
),

first_fetches as (
    select
        symbol,
        asset_class,
        min(first_fetched_at) as first_fetched_at
    from answers_with_bars
    group by symbol, asset_class
),

series as (
    select
        {{ hash31("based.symbol || '|' || based.asset_class || '|' || based.timeframe") }} as series_id,
        cast(based.symbol as varchar(20)) as symbol,
        cast(based.asset_class as varchar(10)) as asset_class,
        cast(based.timeframe as varchar(10)) as timeframe,
        based.step_minutes,
        based.is_fetched,
        {{ hash31("based.symbol || '|' || based.asset_class || '|' || base.timeframe") }} as base_series_id,
        base.timeframe as base_timeframe,
        based.calendar,
        calendars.time_zone,
        calendars.rules as calendar_rules,
        {% for source in sources('names_whole_market') -%}
        based.{{ source }}_symbols,
        {% endfor -%}
        based.all_names,
        case
            when
                {{ may_lie_on_clock('based.step_minutes') }}
                and based.is_fetched
                and {{ is_source('leading_sources.source', sources('has_hours_on_clock')) }}
                and not calendars.never_closes
                then 'clock'
            else 'open'
        end as alignment,
        based.active_from,
        based.active_to,
        based.has_pause,
        based.active_ranges,
        based.sources_in_order,
        -- Bars that had closed before this were backfilled: their lateness is no staleness.
        first_fetches.first_fetched_at
    from based
    inner join {{ ref('timeframes') }} as base on base.step_minutes = based.base_step_minutes
    inner join calendars on calendars.calendar = based.calendar
    left join first_fetches
        on first_fetches.symbol = based.symbol and first_fetches.asset_class = based.asset_class
    left join leading_sources
        on
            leading_sources.symbol = based.symbol
            and leading_sources.asset_class = based.asset_class
            and leading_sources.timeframe = based.timeframe
            and leading_sources.place = 1
    -- A bar that ends in the middle of a base bar cannot be made of them.
    where mod(based.step_minutes, based.base_step_minutes) = 0
),

gridded as (
    select
        *,
        -- Their observations must be nowhere: NULL where there are none.
        {{ quarantined_list('series.symbol') }} as quarantined_loads,
        -- Of all timeframes: a series is resampled of others, too.
        {{ joined_over(
            'alignment',
            ' ',
            'partition by symbol, asset_class order by step_minutes'
            ~ ' rows between unbounded preceding and unbounded following'
        ) }} as alignments
    from series
),

final as (
    select
        series_id,
        symbol,
        asset_class,
        timeframe,
        step_minutes,
        is_fetched,
        base_series_id,
        base_timeframe,
        calendar,
        time_zone,
        alignment,
        active_from,
        active_to,
        has_pause,
        active_ranges,
        sources_in_order,
        first_fetched_at,
        -- What places the rows of an answer (Polygon's days of the whole market name stocks by its symbols): when this
        -- changes, all answers on the series are read again.
        md5(concat_ws(
            '|', {% for source in sources('names_whole_market') %}{{ source }}_symbols, {% endfor -%}
            active_ranges, calendar_rules, quarantined_loads
        )) as calendar_fingerprint,
        -- Whatever else than observations its rows depend on: when this changes, the series is rebuilt from its observations on.
        md5(concat_ws(
            '|', all_names, active_ranges, calendar_rules, alignments, sources_in_order,
            coalesce(cast({{ epoch_seconds('first_fetched_at') }} as {{ text_type() }}), ''), {{ classification_settings() }},
            quarantined_loads
        )) as rules
    from gridded
)

select * from final
