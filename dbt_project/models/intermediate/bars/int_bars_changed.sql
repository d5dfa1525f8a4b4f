{{
    config(
        post_hook=["{{ advance_watermark([ref('int_bar_revisions')], prepares='int_bars_selected') }}", '{{ analyze() }}']
    )
}}
-- depends_on: {{ ref('int_bar_revisions') }}
-- depends_on: {{ ref('int_series_fingerprints') }}
-- depends_on: {{ ref('int_splits') }}
-- depends_on: {{ ref('int_price_bases') }}
-- depends_on: {{ ref('int_series') }}
-- The bars that int_bars_selected has to look at again: those on which a source reported something, and all bars of a
-- series whose rules or splits changed. Empty on its full build, which looks at all.
{%- set since = watermark('int_bars_selected') %}
{%- if is_full_build('int_bars_selected') %}
select
    series_id,
    opened_at,
    false as is_reselected
from {{ ref('int_bar_revisions') }}
where false
{%- else %}
with

final as (
    select
        series_id,
        opened_at,
        max(is_reselected) = 1 as is_reselected
    from {{ changed_bars(since) }}
    group by series_id, opened_at
)

select * from final
{%- endif %}
