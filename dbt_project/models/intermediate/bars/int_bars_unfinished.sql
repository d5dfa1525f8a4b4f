{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'opened_at', 'source'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'opened_at', 'source'], 'unique': true}],
        pre_hook=["{{ require_whole('int_bars_observed') }}", '{{ forget_replaced_series() }}'],
        post_hook=['{{ forget_finished_bars() }}', "{{ advance_watermark(['int_bars_observed']) }}"]
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- depends_on: {{ ref('int_bar_revisions') }}
-- The bars that were still running when they were last seen, one per source. They are forgotten when their final version
-- arrives.
with

observed as (
    select
        *,
        row_number() over (
            partition by series_id, opened_at, source
            order by load_no desc, known_until desc, fetched_at desc, payload_position desc
        ) as age
    from {{ ref('int_bars_observed') }}
    where
        reject_reason is null
        and not is_final
        and (load_no > {{ watermark('int_bars_unfinished') }} or {{ is_of_replaced_series('int_bars_unfinished') }})
),

final as (
    select
        series_id,
        opened_at,
        source,
        load_no,
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
