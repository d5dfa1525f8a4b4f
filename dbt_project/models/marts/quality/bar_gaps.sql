{%- set values = [
    'gap_to', 'missing_bars', 'verdict', 'evidence', 'answered_by', 'place', 'repair_state', 'looks', 'first_look_at',
    'last_look_at', 'next_look_at'
] -%}
{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_strategy='merge',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'gap_from'], 'unique': true},
        ],
        pre_hook=['{{ add_new_columns() }}'],
        post_hook=["delete from {{ this }} where repair_state = 'deleted'"]
    )
}}
-- Every missing range of bars, why it is missing and what is done about it. A gap whose bars have come stays as
-- repaired; one whose class or range changed is replaced. extract asks for what is open (docs/reference/coverage.md).
with

classified as (
    select
        {{ hash63("symbol || '|' || asset_class || '|' || timeframe || '|' || " ~ epoch_seconds('gap_from')) }} as id,
        symbol,
        asset_class,
        timeframe,
        gap_from,
        gap_to,
        missing_bars,
        verdict,
        evidence,
        answered_by,
        place,
        repair_state,
        looks,
        first_look_at,
        last_look_at,
        next_look_at
    from {{ ref('gap_verdicts') }}
),

{% if is_incremental() -%}
vanished as (
    select existing.*
    from {{ this }} as existing
    left join classified on classified.id = existing.id
    where classified.id is null and existing.repair_state <> 'repaired'
),

-- One whose class or range changed touches a gap of today; one that touches none is repaired. By one pass over both, in
-- the order of time: a backfill closes gaps by the ten thousand.
in_order as (
    select symbol, asset_class, timeframe, gap_from as at, 1 as place_at, gap_to, cast(null as bigint) as vanished_id
    from classified
    union all
    select symbol, asset_class, timeframe, gap_to, 0, null, id
    from vanished
),

reached as (
    select
        vanished_id,
        max(gap_to) over (
            partition by symbol, asset_class, timeframe
            order by at, place_at
            rows between unbounded preceding and current row
        ) as missing_until
    from in_order
),
{%- endif %}

current_and_past as (
    select * from classified

    {% if is_incremental() -%}
    union all

    select
        vanished.id,
        vanished.symbol,
        vanished.asset_class,
        vanished.timeframe,
        vanished.gap_from,
        vanished.gap_to,
        vanished.missing_bars,
        'repaired',
        'was ' || vanished.verdict || ': ' || vanished.evidence,
        vanished.answered_by,
        vanished.place,
        case
            when
                vanished.place = 'between'
                and (reached.missing_until is null or reached.missing_until <= vanished.gap_from)
                then 'repaired'
            else 'deleted'
        end,
        vanished.looks,
        vanished.first_look_at,
        vanished.last_look_at,
        cast(null as timestamp with time zone)
    from vanished
    inner join reached on reached.vanished_id = vanished.id
    {%- endif %}
),

final as (
    select
        current_and_past.id,
        current_and_past.symbol,
        current_and_past.asset_class,
        current_and_past.timeframe,
        current_and_past.gap_from,
        current_and_past.gap_to,
        current_and_past.missing_bars,
        current_and_past.verdict,
        current_and_past.evidence,
        current_and_past.answered_by,
        current_and_past.place,
        current_and_past.repair_state,
        {{ warehouse_now() }} as updated_at,
        current_and_past.looks,
        current_and_past.first_look_at,
        current_and_past.last_look_at,
        current_and_past.next_look_at
    from current_and_past
    {% if is_incremental() -%}
    left join {{ this }} as existing on existing.id = current_and_past.id
    where {{ differs('current_and_past', 'existing', 'id', values) }}
    {%- endif %}
)

select * from final
