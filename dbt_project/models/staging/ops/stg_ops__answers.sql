-- Every answer of every provider, and every attempt that ended without one, without its payload: what was asked when,
-- and how it went.
with

answers as (
    {% for provider in sources() -%}
    select
        '{{ provider }}' as source,
        run_id,
        symbol,
        asset_class,
        endpoint,
        origin,
        timeframe,
        window_start,
        window_end,
        status,
        row_count,
        http_status,
        response_ms,
        quota_remaining,
        breaker_state,
        error,
        requested_at,
        fetched_at,
        first_row_at,
        last_row_at,
        _dlt_load_id as load_id
    from {{ source('raw_' ~ provider, 'responses') }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from answers
