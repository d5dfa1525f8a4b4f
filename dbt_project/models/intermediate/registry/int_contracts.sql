{{ config(materialized='view') }}
-- How many coins of its bars one futures contract of an asset is on, for the time in which the registry names it so.
with

assets as (
    select
        symbol,
        asset_class,
        active_from,
        active_to,
        {{ row_as_json('assets') }} as cells
    from {{ ref('assets') }} as assets
    where asset_class = 'crypto'
),

named as (
    {% for source in sources_of('derivatives') -%}
    select
        symbol,
        asset_class,
        active_from,
        active_to,
        {{ provider_symbol('cells', source, 'bars') }} as bars_symbol,
        {{ provider_symbol('cells', source, 'derivatives') }} as contract
    from assets
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        symbol,
        asset_class,
        -- Not the year 1: west of UTC its first moment is read as the year before, which Python does not have.
        {{ local_instant("coalesce(active_from, date '0002-01-01')", "'00:00'", "'UTC'") }} as named_from,
        {{ local_instant("coalesce(active_to, date '9998-12-31') + 1", "'00:00'", "'UTC'") }} as named_until,
        {{ contract_multiplier('bars_symbol', 'contract') }} as multiplier
    from named
    where contract is not null
)

select * from final
