{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at', 'source'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'opened_at', 'source'], 'unique': true}],
        pre_hook=["{{ require_full_input(ref('int_bars_observed')) }}", '{{ delete_replaced_series() }}'],
        post_hook=['{{ delete_finished_bars() }}', "{{ advance_watermark([ref('int_bars_observed')]) }}"]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_bar_revisions') }}
-- The bars that were still running when they were last seen, one per source. They are deleted when their final version
-- arrives.
with

observed as (
    select
        *,
        row_number() over (
            partition by series_id, opened_at, source
            order by batch desc, known_until desc, fetched_at desc, payload_position desc
        ) as age
    from {{ ref('int_bars_observed') }}
    where
        reject_reason is null
        and not is_final
        and (batch > {{ watermark('int_bars_in_progress') }} or {{ is_of_replaced_series('int_bars_in_progress') }})
),

final as (
    select
        series_id,
        opened_at,
        source,
        batch,
        known_until,
        fetched_at,
        open,
        high,
        low,
        close,
        volume,
        taker_buy_volume
    from observed
    where age = 1
)

select * from final
