{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['symbol', 'asset_class', 'timeframe', 'timestamp']}],
        pre_hook=[
            "{{ require_full_input(ref('int_bars_observed')) }}",
            '{{ delete_rows_of_former_version() }}',
            "{{ delete_replaced_series(by='name') }}",
            '{{ delete_moved_loads() }}',
        ],
        post_hook=["{{ advance_watermark([ref('int_bars_observed')]) }}"]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- Payload rows that could not become a bar, with the reason and the row as it was received: nothing is dropped in
-- silence. A row that is sent again is counted again.
with

observed as (
    select * from {{ ref('int_bars_observed') }}
    where
        reject_reason is not null
        and (
            batch > {{ watermark('rejected_bars') }}
            or {{ is_of_replaced_series('rejected_bars') }}
            or {{ is_of_moved_load('rejected_bars', 'batch') }}
        )
),

final as (
    select
        cast(symbol as text) as symbol,
        cast(asset_class as text) as asset_class,
        cast(timeframe as text) as timeframe,
        source,
        opened_at as timestamp,
        reject_reason as reason,
        payload_row,
        window_start,
        fetched_at,
        batch
    from observed
)

select * from final
