{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[
            {'columns': ['series_id', 'opened_at', 'source'], 'unique': true},
            {'columns': ['batch'], 'type': 'brin'},
        ],
        pre_hook=["{{ require_full_input(ref('int_bars_observed')) }}", '{{ delete_replaced_series() }}'],
        post_hook=["{{ advance_watermark([ref('int_bars_observed')]) }}", '{{ analyze_new_table() }}']
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- The bars of a series on which a source sent a row that we refused, and since which load: what is missing there is not
-- missing for want of trades. A row that is sent again is reported once. The rows and reasons are in rejected_bars.
with

rejected as (
    select
        observed.series_id,
        observed.opened_at,
        observed.source,
        min(observed.batch) as batch
    from {{ ref('int_bars_observed') }} as observed
    where
        observed.reject_reason is not null
        and observed.series_id is not null
        and observed.opened_at is not null
        and (
            observed.batch > {{ watermark('int_bars_rejected') }}
            or {{ is_of_replaced_series('int_bars_rejected', 'observed') }}
        )
    group by observed.series_id, observed.opened_at, observed.source
)

select rejected.*
from rejected
{% if is_incremental() -%}
{{ left_join_existing('rejected', ['series_id', 'opened_at', 'source']) }}
where existing.series_id is null
{%- endif %}
