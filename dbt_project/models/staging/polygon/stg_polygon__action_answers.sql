-- One row per answer about splits or dividends: which ex-dates it would have reported, had there been one. The first and the
-- last day of a window are left out: a page that is full ends, and the next one starts, amid the events of one date. An
-- answer with an event of ours that cannot be read proves no other one missing: it may be that one.
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
        {{ local_date('answers.window_start', "'UTC'") }} as reported_after,
        case
            -- The answer goes on in another page: it reports nothing after its last event.
            when {{ json_text('answers.payload', 'next_url') }} <> '' then events.last_ex_date
            else {{ local_date('answers.window_end', "'UTC'") }}
        end as reported_before,
        cast(null as {{ text_type() }}) as timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    inner join lateral (
        select
            max(rows.ex_date) as last_ex_date,
            max(
                case
                    when rows.ex_date is not null and rows.reported is not null and rows.reported_with is not null then 0
                    when answers.symbol is not null or listings.polygon is not null then 1
                    else 0
                end
            ) as unreadable_events
        from (
            select
                case answers.endpoint
                    when 'splits' then {{ date_from_text(json_text('items.item', 'execution_date')) }}
                    else {{ date_from_text(json_text('items.item', 'ex_dividend_date')) }}
                end as ex_date,
                case answers.endpoint
                    when 'splits' then {{ json_decimal('items.item', 'split_to') }}
                    else {{ json_decimal('items.item', 'cash_amount') }}
                end as reported,
                case answers.endpoint
                    when 'splits' then {{ json_decimal('items.item', 'split_from') }}
                    else {{ json_decimal('items.item', 'cash_amount') }}
                end as reported_with,
                {{ json_text('items.item', 'ticker') }} as ticker
            from {{ json_items(json_member('answers.payload', 'results')) }} as items (item, position)
        ) as rows
        left join {{ ref('assets') }} as listings on listings.polygon = rows.ticker
    ) as events on true
    where coalesce(events.unreadable_events, 0) = 0
)

select * from final
