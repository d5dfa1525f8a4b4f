-- One row per answer about splits or dividends: which ex-dates it would have told, had there been one. The first and the
-- last day of a window are left out: a page that is full ends, and the next one starts, amid the events of one date.
with

answers as (
    select * from {{ source('raw_polygon', 'responses') }}
    where endpoint in ('splits', 'dividends') and status = 'ok'
),

final as (
    select
        'polygon' as source,
        case answers.endpoint when 'splits' then 'split' else 'dividend' end as kind,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date('answers.window_start', "'UTC'") }} as told_after,
        case
            -- The answer goes on in another page: it tells nothing after its last event.
            when {{ json_text('answers.payload', 'next_url') }} is not null
                then (
                    select
                        max(cast(coalesce(
                            {{ json_text('rows.item', 'execution_date') }},
                            {{ json_text('rows.item', 'ex_dividend_date') }}
                        ) as date))
                    from {{ json_items(json_member('answers.payload', 'results')) }} as rows (item, position)
                )
            else {{ local_date('answers.window_end', "'UTC'") }}
        end as told_before,
        cast(null as text) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
)

select * from final
