{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'session_date', 'covered_from', 'batch'], 'unique': true}],
        pre_hook=['{{ delete_series_of_other_rules() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Which part of each session a source has answered for, and since which load: the evidence that a bar which is not there
-- had no trades, and that a session is over. An answer covers its window up to its last row, and beyond it to its end if
-- no later session lies in the window: where it stopped earlier, it may have been cut. Of answers from the same moment on
-- only those stay that reach further than all before. Not of assets that a source gives quiet bars of (Binance's spot
-- markets, with volume 0): a bar that it does not give is an outage. Appended to, and a function of the answers alone.
{%- set since = watermark('int_answered_sessions') %}
{#- What is newer than the question is not covered, nor what may not have been published when it was asked. -#}
{%- set asked_to = 'least(answers.window_end, answers.requested_at - ' ~ publication_delay() ~ ')' %}
with

-- Days and weeks are whole sessions: one that is missing is a hole of the source, never quiet.
series as (
    select
        series.series_id,
        series.symbol,
        series.asset_class,
        series.timeframe,
        series.calendar,
        series.time_zone,
        series.sources_in_order,
        {% if is_incremental() -%}
        coalesce(rules.changed_in_batch > {{ since }}, false) as is_read_again
        {%- else -%}
        true as is_read_again
        {%- endif %}
    from {{ ref('int_series') }} as series
    {% if is_incremental() -%}
    left join {{ ref('int_series_fingerprints') }} as rules on rules.series_id = series.series_id
    {%- endif %}
    where
        series.is_fetched
        and series.step_minutes < 1440
        and not exists (
            select 1
            from {{ ref('int_provider_symbols') }} as provider_symbols
            where
                provider_symbols.symbol = series.symbol
                and provider_symbols.asset_class = series.asset_class
                and provider_symbols.used_for = 'quiet_bars'
                and {{ position_in_list('provider_symbols.source', 'series.sources_in_order') }} is not null
        )
),

sessions as (
    select
        calendar,
        bar_date,
        opens_at,
        closes_at,
        lead(opens_at) over (partition by calendar order by bar_date) as next_opens_at
    from {{ ref('int_expected_bars') }}
    where timeframe = {{ day_timeframe() }} and alignment = 'open'
),

answers as (
    select
        series.series_id,
        series.calendar,
        loads.batch,
        answers.window_start as covered_from,
        coalesce(answers.last_row_at, {{ asked_to }}) as covered_to,
        {{ asked_to }} as asked_to,
        {{ local_date('answers.window_start', 'series.time_zone') }} as first_day,
        {{ local_date('coalesce(answers.last_row_at, ' ~ asked_to ~ ')', 'series.time_zone') }} as last_day
    from {{ ref('stg_ops__answers') }} as answers
    inner join series
        on
            series.symbol = answers.symbol
            and series.asset_class = answers.asset_class
            and series.timeframe = answers.timeframe
    inner join {{ ref('int_loads') }} as loads on loads.provider = answers.source and loads.load_id = answers.load_id
    where
        answers.endpoint = 'bars'
        -- Of an answer that was the same again only the payload is not stored.
        and answers.status in ('ok', 'unchanged')
        -- An empty answer is no proof of anything.
        and answers.row_count > 0
        and answers.window_start < answers.window_end
        and {{ position_in_list('answers.source', 'series.sources_in_order') }} is not null
        and (loads.batch > {{ since }} or series.is_read_again)
),

-- The days between an answer's first and last are covered whole. Answers of the same days are one, the first: a turn
-- every five minutes reads the same week again.
wholes as (
    select
        series_id,
        calendar,
        first_day,
        last_day,
        min(batch) as batch
    from answers
    where last_day > first_day + 1
    group by series_id, calendar, first_day, last_day
),

ends as (
    select series_id, calendar, batch, covered_from, covered_to, asked_to, first_day as session_date
    from answers
    union
    select series_id, calendar, batch, covered_from, covered_to, asked_to, last_day
    from answers
),

covered as (
    select
        wholes.series_id,
        sessions.bar_date as session_date,
        wholes.batch,
        sessions.opens_at as covered_from,
        sessions.closes_at as covered_to
    from wholes
    -- By index, range by range: else each met all sessions of its calendar.
    inner join lateral (
        select existing_rows.bar_date, existing_rows.opens_at, existing_rows.closes_at
        from {{ ref('int_expected_bars') }} as existing_rows
        where
            existing_rows.calendar = wholes.calendar
            and existing_rows.timeframe = {{ day_timeframe() }}
            and existing_rows.alignment = 'open'
            and existing_rows.bar_date > wholes.first_day
            and existing_rows.bar_date < wholes.last_day
        {{ optimization_fence() }}
    ) as sessions on true

    union all

    select
        ends.series_id,
        ends.session_date,
        ends.batch,
        greatest(ends.covered_from, sessions.opens_at),
        least(
            sessions.closes_at,
            case
                when ends.asked_to <= coalesce(sessions.next_opens_at, ends.asked_to)
                    then greatest(ends.asked_to, ends.covered_to)
                else ends.covered_to
            end
        )
    from ends
    inner join sessions on sessions.calendar = ends.calendar and sessions.bar_date = ends.session_date
),

by_load as (
    select
        series_id,
        session_date,
        covered_from,
        batch,
        max(covered_to) as covered_to
    from covered
    where covered_to > covered_from
    group by series_id, session_date, covered_from, batch
),

reaching as (
    select
        *,
        max(covered_to) over (
            partition by series_id, session_date, covered_from
            order by batch
            rows between unbounded preceding and 1 preceding
        ) as reached_before
    from by_load
),

final as (
    select
        series_id,
        session_date,
        covered_from,
        covered_to,
        cast(batch as integer) as batch
    from reaching
    where covered_to > reached_before or reached_before is null
)

select final.*
from final
{% if is_incremental() -%}
left join lateral (
    select max(known.covered_to) as covered_to
    from {{ this }} as known
    where
        known.series_id = final.series_id
        and known.session_date = final.session_date
        and known.covered_from = final.covered_from
) as known on true
where known.covered_to is null or final.covered_to > known.covered_to
{%- endif %}
