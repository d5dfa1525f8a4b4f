{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
        pre_hook=['{{ bring_back_loads() }}'],
        post_hook=['{{ take_loads_out() }}', '{{ analyze() }}']
    )
}}
-- Every committed load in force with its number, given in the order in which this model first saw it. A change of the registry
-- (assets, calendars, limits, the settings that classify bars) counts as a load too: it is a change for every model, and so
-- does a load that was quarantined or came back; it keeps its number for that day (ops.quarantined_loads). Never
-- rebuilt: other models keep these numbers as watermarks.
with

seen as (
    {% if is_incremental() -%}
    select batch, provider, load_id from {{ this }}
    union all
    -- Out of force, with the number that waits for it; without one if no build saw it before.
    select batch, source, load_id from {{ ref('stg_ops__quarantined_loads') }}
    where batch is not null and not is_lifted
    {%- else -%}
    -- Whatever waits was numbered in another list (a dump that was restored holds no list).
    select cast(null as bigint) as batch, cast(null as {{ text_type() }}) as provider, cast(null as {{ text_type() }}) as load_id
    where false
    {%- endif %}
),

registry_rows as (
    select
        md5(concat_ws(
            '|', assets.all_rows,
            {%- for seed in ['calendars', 'session_exceptions', 'timeframes'] %}
            {{ all_rows_of(ref(seed)) }},
            {%- endfor %}
            {{ classification_settings() }}, '{{ source_priority() }}', {{ quarantined_list() }}
        )) as fingerprint
    from (select {{ all_rows_of(ref('assets')) }} as all_rows) as assets
    where assets.all_rows is not null
),

known_registry as (
    select load_id
    from seen
    where provider = 'registry'
    order by batch desc
    limit 1
),

arrived as (
    select
        loads.provider,
        cast(loads.load_id as {{ text_type() }}) as load_id,
        loads.committed_at
    from {{ ref('stg_ops__loads') }} as loads
    left join seen on seen.provider = loads.provider and seen.load_id = loads.load_id
    where seen.load_id is null

    union all

    select
        quarantined.source,
        quarantined.load_id,
        quarantined.committed_at
    from {{ ref('stg_ops__quarantined_loads') }} as quarantined
    left join seen on seen.provider = quarantined.source and seen.load_id = quarantined.load_id
    where seen.load_id is null and not quarantined.is_lifted

    union all

    select
        'registry' as provider,
        registry_rows.fingerprint as load_id,
        current_timestamp as committed_at
    from registry_rows
    left join known_registry on true
    where known_registry.load_id is distinct from registry_rows.fingerprint
),

final as (
    select
        (select coalesce(max(seen.batch), 0) from seen)
        + row_number() over (order by arrived.committed_at asc, arrived.load_id asc) as batch,
        arrived.provider,
        arrived.load_id,
        arrived.committed_at,
        {{ warehouse_now() }} as registered_at
    from arrived
)

select * from final
