{{ config(materialized='view') }}
-- One row per source: whether it may be asked, since when, and how it has answered in its last 24 hours of use. Breaker
-- and bans are read live from what extract keeps; the rest comes from the fetch log.
with

sources as (
    {% for provider in sources() -%}
    select '{{ provider }}' as source
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

usage as (
    select
        sources.source,
        (
            select max(answers.fetch_timestamp)
            from {{ ref('enrichment_fetch_log') }} as answers
            where answers.source = sources.source
        ) as last_request_at
    from sources
),

recent as (
    select
        usage.source,
        -- What was not sent, for an open breaker or a spent budget, has no response time and is no error of the source.
        count(answers.source_response_time_ms) as requests,
        count(case when not answers.success then answers.source_response_time_ms end) as failed_requests,
        percentile_cont(0.5) within group (order by answers.source_response_time_ms) as p50_response_ms,
        percentile_cont(0.95) within group (order by answers.source_response_time_ms) as p95_response_ms
    from usage
    inner join {{ ref('enrichment_fetch_log') }} as answers
        on answers.source = usage.source and answers.fetch_timestamp > usage.last_request_at - interval '24 hours'
    group by usage.source
),

last_requests as (
    select
        usage.source,
        usage.last_request_at,
        succeeded.fetch_timestamp as last_success_at,
        failed.fetch_timestamp as last_error_at,
        failed.error_details as last_error,
        reported.api_quota_remaining as quota_remaining,
        newest.breaker_state,
        not_closed.fetch_timestamp as last_not_closed_at,
        oldest.fetch_timestamp as first_request_at
    from usage
    {% for name, condition, direction in [
        ('succeeded', 'answers.success', 'desc'),
        ('failed', 'not answers.success', 'desc'),
        ('reported', 'answers.api_quota_remaining is not null', 'desc'),
        ('newest', 'answers.breaker_state is not null', 'desc'),
        ('not_closed', "answers.breaker_state <> 'CLOSED'", 'desc'),
        ('oldest', 'true', 'asc'),
    ] -%}
    left join lateral (
        select
            answers.fetch_timestamp,
            answers.error_details,
            answers.api_quota_remaining,
            answers.breaker_state
        from {{ ref('enrichment_fetch_log') }} as answers
        where answers.source = usage.source and {{ condition }}
        order by answers.fetch_timestamp {{ direction }}, answers.id {{ direction }}
        limit 1
    ) as {{ name }} on true
    {% endfor %}
),

bans as (
    select
        sources.source,
        max(budgets.blocked_until) as blocked_until
    from sources
    inner join {{ ref('stg_ops__source_budgets') }} as budgets on budgets.budget = sources.source
    group by sources.source
),

final as (
    select
        cast(last_requests.source as varchar(20)) as source,
        coalesce(breakers.breaker_state, last_requests.breaker_state, 'CLOSED') as breaker_state,
        -- A closed breaker records no instant: it has been closed since the last answer that found it otherwise.
        case
            when coalesce(breakers.breaker_state, 'CLOSED') <> 'CLOSED' then breakers.opened_at
            else coalesce(last_requests.last_not_closed_at, last_requests.first_request_at)
        end as breaker_state_since,
        case when bans.blocked_until > {{ warehouse_now() }} then bans.blocked_until end as blocked_until,
        last_requests.last_request_at,
        last_requests.last_success_at,
        last_requests.last_error_at,
        last_requests.last_error,
        cast(coalesce(recent.requests, 0) as integer) as requests,
        cast(coalesce(recent.failed_requests, 0) as integer) as failed_requests,
        cast(round(cast(recent.failed_requests as numeric) / nullif(recent.requests, 0), 4) as numeric(5, 4)) as error_rate,
        cast(round(recent.p50_response_ms) as integer) as p50_response_ms,
        cast(round(recent.p95_response_ms) as integer) as p95_response_ms,
        last_requests.quota_remaining
    from last_requests
    left join {{ ref('stg_ops__circuit_breakers') }} as breakers on breakers.source = last_requests.source
    left join bans on bans.source = last_requests.source
    left join recent on recent.source = last_requests.source
)

select * from final
