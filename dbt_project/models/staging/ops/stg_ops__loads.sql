-- Every load that dlt has committed, and each correction by hand as a load of its own. A load that was killed half-way
-- never gets its line in _dlt_loads, so reading through this view is what makes the raw layer exactly-once.
with

loads as (
    {% for provider in sources() -%}
    select
        '{{ provider }}' as provider,
        load_id,
        inserted_at as committed_at
    from {{ source('raw_' ~ provider, '_dlt_loads') }}
    where status = 0

    union all
    {% endfor %}
    select
        'manual' as provider,
        cast(correction_id as {{ text_type() }}) as load_id,
        recorded_at as committed_at
    from {{ source('ops', 'manual_corrections') }}

    union all

    select
        'manual' as provider,
        'action ' || cast(action_id as {{ text_type() }}) as load_id,
        recorded_at as committed_at
    from {{ source('ops', 'manual_actions') }}
)

select * from loads
