{%- set since = watermark_before_moved_loads('int_basis_answers') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['is_of_old_bars', 'symbol', 'asset_class', 'timeframe', 'first_row_at']}],
        pre_hook=['{{ delete_since_moved_loads() }}'],
        post_hook=["{{ advance_watermark([ref('int_loads')]) }}", '{{ analyze() }}']
    )
}}
-- The answers that int_yahoo_bases reads the basis of Yahoo's prices from: its charts of stocks, and every answer about
-- splits, each with what it reaches over. Appended to; no payload is opened.
with

answers as (
    select
        answers.source,
        answers.endpoint,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        answers.status,
        answers.window_start,
        least(answers.window_end, answers.requested_at) as window_end,
        answers.fetched_at,
        coalesce(answers.first_row_at, answers.window_start) as first_row_at,
        -- An answer of a version that did not note it, or without a row.
        coalesce(answers.last_row_at, least(answers.window_end - interval '1 second', answers.requested_at)) as last_row_at,
        answers.load_id
    from {{ ref('stg_ops__answers') }} as answers
    where
        answers.status in ('ok', 'unchanged')
        and (answers.asset_class is null or answers.asset_class <> 'crypto')
        and {{ is_answer_about('splits', 'answers') }}
        and answers.window_start is not null
        and answers.window_end is not null
        and {{ is_new_load('int_basis_answers', 'answers.load_id', since) }}
),

final as (
    select
        answers.source,
        answers.endpoint,
        answers.symbol,
        answers.asset_class,
        answers.timeframe,
        answers.status,
        answers.window_start,
        answers.window_end,
        answers.fetched_at,
        answers.first_row_at,
        answers.last_row_at,
        -- Most answers re-read a week: a split that concerns them lies within days of them, so they are found by index.
        answers.first_row_at < answers.fetched_at - interval '9 days'
        or answers.window_end < answers.fetched_at - interval '4 days' as is_of_old_bars,
        -- Splits between its window and the day of asking come from other answers (extract asks with EVENTS_DUE). Weekends and
        -- holidays have none.
        answers.window_end < answers.fetched_at - case answers.timeframe
            when {{ week_timeframe() }} then interval '1 day'
            else interval '4 days'
        end as is_late,
        cast(loads.batch as integer) as batch
    from answers
    inner join {{ ref('int_loads') }} as loads on loads.provider = answers.source and loads.load_id = answers.load_id
)

select * from final
