{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook=['{{ delete_replaced_series() }}'],
        post_hook=["{{ advance_watermark([ref('int_bar_revisions')]) }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The Yahoo answers in which known bars had moved together by one factor: what a split does to a history. Appended to.
{%- set replaced = replaced_series('int_yahoo_rebases') if is_incremental() else [] %}
with

moves as (
    select
        bars.series_id,
        bars.batch,
        bars.fetched_at,
        bars.opened_at,
        ln(bars.close / former.close) as log_move
    from {{ ref('int_bar_revisions') }} as bars
    inner join {{ ref('int_bar_revisions') }} as former
        on
            former.series_id = bars.series_id
            and former.opened_at = bars.opened_at
            and former.source = bars.source
            and former.revision = bars.revision - 1
    where
        bars.source = 'yahoo'
        and bars.revision > 1
        and bars.close > 0
        and former.close > 0
        and (
            bars.batch > {{ watermark('int_yahoo_rebases') }}
            {%- if replaced %}
            or bars.series_id in ({{ replaced | map(attribute='series_id') | join(', ') }})
            {%- endif %}
        )
),

final as (
    select
        series_id,
        batch,
        fetched_at,
        min(opened_at) as first_opened_at
    from moves
    group by series_id, batch, fetched_at
    having count(*) >= 3 and max(log_move) - min(log_move) < 0.005 and abs(avg(log_move)) > 0.02
)

select * from final
