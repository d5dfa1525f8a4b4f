{{
    config(
        post_hook=[
            "{{ advance_watermark([ref('int_bars_selected'), ref('int_bars_resampled')], prepares='source_reconciliation') }}",
            '{{ analyze() }}',
        ]
    )
}}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_splits') }}
-- depends_on: {{ ref('int_price_bases') }}
-- depends_on: {{ ref('int_series') }}
-- The bars of which source_reconciliation compares the observations again: those on which anything changed, if two sources, or
-- a source and our own resampling, have something to say about them.
{%- set since = watermark('source_reconciliation') %}
with

changed as (
    select series_id, opened_at
    from {{ ref('int_bar_revisions') }}
    where batch > {{ since }}
    union
    select series_id, opened_at
    from {{ ref('int_bars_selected') }}
    where changed_in_batch > {{ since }}
    union
    select series_id, opened_at
    from {{ ref('int_bars_resampled') }}
    where changed_in_batch > {{ since }}
    {% if not is_full_build('source_reconciliation') -%}
    union
    select bars.series_id, bars.opened_at
    from {{ ref('int_bars_selected') }} as bars
    inner join {{ ref('int_series_fingerprints') }} as rules
        on rules.series_id = bars.series_id and rules.changed_in_batch > {{ since }}
    union
    -- The observations of some sources are adjusted for splits: a new split changes them, and leaves the bar of the preferred source alone.
    select bars.series_id, bars.opened_at
    from {{ ref('int_bars_selected') }} as bars
    inner join {{ ref('int_series') }} as series on series.series_id = bars.series_id
    inner join {{ ref('int_splits') }} as splits
        on splits.symbol = series.symbol and splits.asset_class = series.asset_class
    where splits.changed_in_batch > {{ since }}
    union
    select bars.series_id, bars.opened_at
    from {{ ref('int_bars_selected') }} as bars
    inner join {{ ref('int_price_bases') }} as bases on bases.series_id = bars.series_id
    where bases.changed_in_batch > {{ since }} and bases.batch <= {{ since }}
    {%- endif %}
),

observed as (
    select
        changed.series_id,
        changed.opened_at,
        count(distinct revisions.source) as sources
    from changed
    inner join {{ ref('int_bar_revisions') }} as revisions
        on revisions.series_id = changed.series_id and revisions.opened_at = changed.opened_at
    group by changed.series_id, changed.opened_at
),

final as (
    select
        observed.series_id,
        observed.opened_at,
        resampled.series_id is not null as is_resampled
    from observed
    left join {{ ref('int_bars_resampled') }} as resampled
        on resampled.series_id = observed.series_id and resampled.opened_at = observed.opened_at
    where observed.sources > 1 or resampled.series_id is not null
)

select * from final
