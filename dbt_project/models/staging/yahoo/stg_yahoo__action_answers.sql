-- One row per chart of days: which ex-dates it would have reported, had there been a split or dividend. Charts of finer bars
-- report events too, but they need not report all; neither is the day of the answer complete. A chart with an
-- event that cannot be read proves no other one missing: it may be that one.
with

answers as (
    select
        responses.*,
        charts.time_zone
    from {{ source('raw_yahoo', 'responses') }} as responses
    inner join lateral (
        select
            {{ known_time_zone(json_text(json_member('responses.payload', 'chart.result.0.meta'), 'exchangeTimezoneName')) }}
                as time_zone
        {{ optimization_fence() }}
    ) as charts on true
    where
        responses.status = 'ok'
        and (responses.endpoint = 'events' or (responses.endpoint = 'bars' and responses.timeframe = '1d'))
),

final as (
    {% for kind in ['split', 'dividend'] -%}
    select
        'yahoo' as source,
        '{{ kind }}' as kind,
        coalesce(answers.provider_symbol, answers.symbol) as ticker,
        {{ local_date('answers.window_start', 'answers.time_zone') }} as reported_after,
        {{ local_date('least(answers.window_end, answers.requested_at)', 'answers.time_zone') }} as reported_before,
        answers.timeframe,
        answers.window_start,
        answers.fetched_at,
        answers._dlt_load_id as load_id
    from answers
    where
        answers.time_zone is not null
        and not exists (
            select 1
            from (
                select
                    {{ json_integer('rows.item', 'date') }} as stamp,
                    {{ json_decimal('rows.item', 'numerator' if kind == 'split' else 'amount') }} as reported,
                    {{ json_decimal('rows.item', 'denominator' if kind == 'split' else 'amount') }} as reported_with
                from {{ json_values(json_member('answers.payload', 'chart.result.0.events.' ~ kind ~ 's')) }} as rows (item)
                {%- if kind == 'dividend' %}
                union all
                select
                    {{ json_integer('rows.item', 'date') }},
                    {{ json_decimal('rows.item', 'amount') }},
                    {{ json_decimal('rows.item', 'amount') }}
                from {{ json_values(json_member('answers.payload', 'chart.result.0.events.capitalGains')) }} as rows (item)
                {%- endif %}
            ) as events
            where {{ instant_from_epoch('events.stamp') }} is null or events.reported is null or events.reported_with is null
        )
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from final
