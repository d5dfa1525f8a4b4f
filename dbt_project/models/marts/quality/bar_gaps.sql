{%- set values = [
    'gap_to', 'missing_bars', 'verdict', 'evidence', 'answered_by', 'place', 'repair_state', 'looks', 'first_look_at',
    'last_look_at', 'next_look_at'
] -%}
{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_strategy='merge',
        on_schema_change='append_new_columns',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'timeframe', 'gap_from'], 'unique': true},
        ],
        post_hook=["delete from {{ this }} where repair_state = 'gone'"]
    )
}}
-- Every missing range of bars, why it is missing and what is done about it. A gap whose bars have come stays as
-- repaired; one that was judged or divided again is replaced. extract asks for what is open (docs/coverage.md).
with

judged as (
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

current_and_past as (
    select * from judged

    {% if is_incremental() -%}
    union all

    select
        kept.id,
        kept.symbol,
        kept.asset_class,
        kept.timeframe,
        kept.gap_from,
        kept.gap_to,
        kept.missing_bars,
        'repaired',
        'was ' || kept.verdict || ': ' || kept.evidence,
        kept.answered_by,
        kept.place,
        case
            when
                kept.place = 'between' and not exists (
                    select 1
                    from judged as present
                    where
                        present.symbol = kept.symbol
                        and present.asset_class = kept.asset_class
                        and present.timeframe = kept.timeframe
                        and present.gap_from < kept.gap_to
                        and present.gap_to > kept.gap_from
                )
                then 'repaired'
            else 'gone'
        end,
        kept.looks,
        kept.first_look_at,
        kept.last_look_at,
        cast(null as timestamp with time zone)
    from {{ this }} as kept
    left join judged on judged.id = kept.id
    where judged.id is null and kept.repair_state <> 'repaired'
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
    left join {{ this }} as kept on kept.id = current_and_past.id
    where {{ differs('current_and_past', 'kept', 'id', values) }}
    {%- endif %}
)

select * from final
