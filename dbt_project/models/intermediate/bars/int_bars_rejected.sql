{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        indexes=[{'columns': ['series_id', 'opened_at']}, {'columns': ['load_no'], 'type': 'brin'}],
        pre_hook=["{{ require_whole('int_bars_observed') }}", '{{ forget_replaced_series() }}'],
        post_hook=["{{ advance_watermark(['int_bars_observed']) }}", '{{ analyze_new_table() }}']
    )
}}
-- depends_on: {{ ref('int_series_rules') }}
-- On which bars of a series a listed source said something that we refused: nothing that is missing there is missing for
-- want of trades. The rows and reasons are in rejected_bars.
with

observed as (
    select
        observed.series_id,
        observed.opened_at,
        observed.source,
        observed.load_no
    from {{ ref('int_bars_observed') }} as observed
    inner join {{ ref('int_series') }} as series on series.series_id = observed.series_id
    where
        observed.reject_reason is not null
        and observed.opened_at is not null
        and {{ place_in_list('observed.source', 'series.sources_in_order') }} is not null
        and (
            observed.load_no > {{ watermark('int_bars_rejected') }}
            or {{ is_of_replaced_series('int_bars_rejected', 'observed') }}
        )
)

select distinct
    series_id,
    opened_at,
    source,
    load_no
from observed
