{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['original_record_id']},
        ],
        post_hook=["{{ advance_watermark(['int_bar_versions']) }}"]
    )
}}
-- One row per corrected field of a bar: what it was, what it became, why, and when we learned it. Read off consecutive
-- versions, so the cost follows the number of corrections, not the history.
with

amended as (
    select * from {{ ref('int_bar_versions') }}
    where revision > 1 and load_no > {{ watermark('data_corrections') }}
),

pairs as (
    select
        amended.series_id,
        amended.opened_at,
        amended.revision,
        amended.amended_at,
        amended.source,
        earlier.source as earlier_source,
        amended.open,
        earlier.open as earlier_open,
        amended.high,
        earlier.high as earlier_high,
        amended.low,
        earlier.low as earlier_low,
        amended.close,
        earlier.close as earlier_close,
        amended.volume,
        earlier.volume as earlier_volume,
        amended.taker_buy_volume,
        earlier.taker_buy_volume as earlier_taker_buy_volume
    from amended
    inner join {{ ref('int_bar_versions') }} as earlier
        on
            earlier.series_id = amended.series_id
            and earlier.opened_at = amended.opened_at
            and earlier.revision = amended.revision - 1
),

fields as (
    {% for field in ['open', 'high', 'low', 'close', 'volume', 'taker_buy_volume'] -%}
    select
        series_id,
        opened_at,
        revision,
        amended_at,
        source,
        earlier_source,
        {{ loop.index }} as field_no,
        '{{ field }}' as field_corrected,
        earlier_{{ field }} as old_value,
        {{ field }} as new_value
    from pairs
    where {{ field }} is distinct from earlier_{{ field }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        {{ hash63("series_id || '|' || " ~ epoch_seconds('opened_at') ~ " || '|' || revision || '|' || field_no") }} as id,
        cast(series_id as bigint) * 4294967296 + {{ epoch_seconds('opened_at') }} as original_record_id,
        cast(field_corrected as varchar(50)) as field_corrected,
        cast(old_value as numeric(28, 10)) as old_value,
        cast(new_value as numeric(28, 10)) as new_value,
        cast(case when source = earlier_source then 'source_updated' else 'source_changed' end as varchar(200)) as reason,
        cast(source as varchar(100)) as corrected_by,
        amended_at as correction_timestamp,
        revision
    from fields
)

select * from final
