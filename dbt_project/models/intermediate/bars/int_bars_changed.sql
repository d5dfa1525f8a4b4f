{{
    config(
        post_hook=["{{ advance_watermark(['int_bar_revisions'], prepares='int_bars_selected') }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_bar_revisions') }}
-- depends_on: {{ ref('int_series_rules') }}
-- depends_on: {{ ref('int_splits') }}
-- depends_on: {{ ref('int_series') }}
-- The bars that int_bars_selected has to look at again: those on which a source said something, and all bars of a
-- series whose rules or splits changed. Empty when it is built anew: then it looks at all.
{%- set since = watermark('int_bars_selected') %}
{%- if starts_anew('int_bars_selected') %}
select
    series_id,
    opened_at,
    false as is_reselected
from {{ ref('int_bar_revisions') }}
where false
{%- else %}
with

reselected_series as (
    select series_id
    from {{ ref('int_series_rules') }}
    where changed_in_load > {{ since }}

    union

    select series.series_id
    from {{ ref('int_series') }} as series
    inner join {{ ref('int_splits') }} as splits
        on splits.symbol = series.symbol and splits.asset_class = series.asset_class
    where splits.changed_in_load > {{ since }}
),

changed as (
    select
        series_id,
        opened_at,
        0 as is_reselected
    from {{ ref('int_bar_revisions') }}
    where load_no > {{ since }}

    union all

    select
        revisions.series_id,
        revisions.opened_at,
        1 as is_reselected
    from {{ ref('int_bar_revisions') }} as revisions
    inner join reselected_series on reselected_series.series_id = revisions.series_id
),

final as (
    select
        series_id,
        opened_at,
        max(is_reselected) = 1 as is_reselected
    from changed
    group by series_id, opened_at
)

select * from final
{%- endif %}
