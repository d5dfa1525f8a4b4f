-- Every load that dlt has committed. A load that was killed half-way never gets its line in _dlt_loads, so reading
-- through this view is what makes the raw layer exactly-once.
with

loads as (
    {% for provider in ['polygon', 'binance', 'yahoo', 'coinmetrics'] -%}
    select
        '{{ provider }}' as provider,
        load_id,
        inserted_at as committed_at
    from {{ source('raw_' ~ provider, '_dlt_loads') }}
    where status = 0
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from loads
