{{ config(materialized='view') }}
-- What is wrong with a source, now: it does not answer, it refuses our key, it answers something else than its API
-- documents, or rows of its answers cannot become bars.
with

rules as (
    select * from {{ ref('alert_rules') }}
),

-- Since its last good answer, when was the first request that the source itself failed? An unknown symbol (400, 404) or
-- a file that is not there yet is no outage.
outages as (
    select
        health.source,
        health.last_error,
        (
            select min(answers.fetch_timestamp)
            from {{ ref('enrichment_fetch_log') }} as answers
            where
                answers.source = health.source
                -- Binance's files are on another host: while they come the API may be down, and the other way round.
                and answers.origin is distinct from 'archive'
                and answers.fetch_timestamp > coalesce(
                    (
                        select max(good.fetch_timestamp)
                        from {{ ref('enrichment_fetch_log') }} as good
                        where good.source = health.source and good.success and good.origin is distinct from 'archive'
                    ),
                    health.last_success_at,
                    cast('0001-01-01 00:00:00+00' as timestamp with time zone)
                )
                and answers.status = 'failed'
                and (
                    answers.http_status is null
                    or answers.http_status >= 500
                    or answers.http_status in (401, 403, 418, 429, 451)
                )
        ) as failing_since
    from {{ ref('source_health') }} as health
),

-- A run begins with a question that every key may ask: the market's status. Where it is refused, nothing else is asked.
checks as (
    select
        answers.source,
        answers.http_status,
        answers.error_details,
        row_number() over (partition by answers.source order by answers.fetch_timestamp desc, answers.id desc) as place
    from {{ ref('enrichment_fetch_log') }} as answers
    inner join rules on rules.rule = 'key_refused'
    where
        answers.endpoint = 'market_status'
        and answers.fetch_timestamp > {{ warehouse_now() }} - {{ minutes('60 * rules.window_hours') }}
),

refused as (
    select
        source,
        error_details
    from checks
    where place = 1 and http_status in (401, 403)
),

unavailable as (
    select
        source,
        last_error,
        ({{ epoch_seconds(warehouse_now()) }} - {{ epoch_seconds('failing_since') }}) / 60 as minutes
    from outages
    -- A refused key is reported at once, by its own name.
    where failing_since is not null and source not in (select refused.source from refused)
),

-- The newest outcome of each thing that is asked for.
newest as (
    select
        answers.source,
        answers.endpoint,
        answers.status,
        answers.error_details,
        answers.batch,
        row_number() over (
            partition by answers.source, answers.endpoint, answers.origin, answers.symbol, answers.timeframe
            order by answers.fetch_timestamp desc, answers.id desc
        ) as place
    from {{ ref('enrichment_fetch_log') }} as answers
    inner join rules on rules.rule = 'schema_drift'
    where
        answers.fetch_timestamp > {{ warehouse_now() }} - {{ minutes('60 * rules.window_hours') }}
        and answers.status <> 'failed'
),

drifted as (
    select
        source,
        endpoint,
        count(*) as series,
        max(error_details) as example,
        {{ only_value('batch') }} as batch
    from newest
    where place = 1 and status = 'quarantined'
    group by source, endpoint
),

rejected as (
    select
        bars.source,
        count(*) as bars,
        max(bars.reason) as example,
        {{ only_value('bars.batch') }} as batch
    from (
        select source, reason, fetched_at, batch
        from {{ ref('rejected_bars') }}
        union all
        select source, reason, fetched_at, batch
        from {{ ref('rejected_rows') }}
    ) as bars
    inner join rules on rules.rule = 'bars_rejected'
    where bars.fetched_at > {{ warehouse_now() }} - {{ minutes('60 * rules.window_hours') }}
    group by bars.source
),

final as (
    select
        rules.rule,
        cast(unavailable.source as text) as subject,
        cast(unavailable.minutes as numeric(20, 4)) as value,
        rules.threshold,
        'no answer for ' || cast(unavailable.minutes as text) || ' minutes: '
        || coalesce(unavailable.last_error, 'no message') as message
    from unavailable
    inner join rules on rules.rule = 'source_unavailable'
    where unavailable.minutes > rules.threshold

    union all

    select
        rules.rule,
        cast(refused.source as text),
        cast(1 as numeric(20, 4)),
        rules.threshold,
        coalesce(refused.error_details, 'no message')
    from refused
    inner join rules on rules.rule = 'key_refused'
    where rules.threshold < 1

    union all

    select
        rules.rule,
        drifted.source || ' ' || drifted.endpoint,
        cast(drifted.series as numeric(20, 4)),
        rules.threshold,
        'answers are not what the API documents (quarantined): ' || coalesce(drifted.example, 'no message')
        || {{ load_to_blame('loads.load_id') }}
    from drifted
    left join {{ ref('int_loads') }} as loads on loads.batch = drifted.batch
    inner join rules on rules.rule = 'schema_drift'
    where drifted.series > rules.threshold

    union all

    select
        rules.rule,
        cast(rejected.source as text),
        cast(rejected.bars as numeric(20, 4)),
        rules.threshold,
        'rows that could not become bars, e.g.: ' || rejected.example || {{ load_to_blame('loads.load_id') }}
    from rejected
    left join {{ ref('int_loads') }} as loads on loads.batch = rejected.batch
    inner join rules on rules.rule = 'bars_rejected'
    where rejected.bars > rules.threshold
)

select * from final
