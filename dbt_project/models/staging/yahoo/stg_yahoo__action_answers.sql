-- One row per chart of days: which ex-dates it would have told, had there been a split or dividend. Charts of finer bars
-- tell events too, but nobody promises that they tell all; neither is the day of the answer complete.
with

answers as (
    select
        *,
        {{ json_member('payload', 'chart.result.0.meta') }} ->> 'exchangeTimezoneName' as time_zone
    from {{ source('raw_yahoo', 'responses') }}
    where endpoint = 'bars' and status = 'ok' and timeframe = '1d'
),

kinds as (
    select 'split' as kind
    union all
    select 'dividend' as kind
),

final as (
    select
        'yahoo' as source,
        kinds.kind,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date('answers.window_start', 'answers.time_zone') }} as told_after,
        {{ local_date('least(answers.window_end, answers.requested_at)', 'answers.time_zone') }} as told_before,
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    cross join kinds
    where answers.time_zone is not null
)

select * from final
