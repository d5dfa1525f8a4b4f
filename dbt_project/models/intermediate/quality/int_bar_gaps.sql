{%- set values = ['first_expected_no', 'last_expected_no', 'session_before', 'session_after', 'missing_bars'] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'bar_after_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'bar_after_at'], 'unique': true}],
        post_hook=["{{ advance_watermark([ref('int_bars_selected'), ref('int_bars_resampled')]) }}", '{{ analyze() }}']
    )
}}
{%- set since = watermark('int_bar_gaps') %}
-- Where expected bars are missing between two bars of a series: one row per gap, named by the bar that ends it. Only
-- the range of a series between its first and its last changed bar is looked at again. A gap that is closed stays,
-- with no missing bars.
with

{% if is_incremental() -%}
changed as (
    select series_id, opened_at
    from {{ ref('int_bars_selected') }}
    where changed_in_batch > {{ since }}
    union all
    select series_id, opened_at
    from {{ ref('int_bars_resampled') }}
    where changed_in_batch > {{ since }}
),

missing_ranges as (
    select
        series_id,
        min(opened_at) as changed_from,
        max(opened_at) as changed_to
    from changed
    group by series_id
),

reaching as (
    select
        series_id,
        changed_from,
        coalesce(
            greatest(
                {{ neighbouring_bar(ref('int_bars_selected'), 'max', '<', 'missing_ranges.changed_from') }},
                {{ neighbouring_bar(ref('int_bars_resampled'), 'max', '<', 'missing_ranges.changed_from') }}
            ),
            changed_from
        ) as reads_from,
        coalesce(
            least(
                {{ neighbouring_bar(ref('int_bars_selected'), 'min', '>', 'missing_ranges.changed_to') }},
                {{ neighbouring_bar(ref('int_bars_resampled'), 'min', '>', 'missing_ranges.changed_to') }}
            ),
            changed_to
        ) as reads_to
    from missing_ranges
),
{%- endif %}

bars as (
    {% for table in ['int_bars_selected', 'int_bars_resampled'] -%}
    select bars.series_id, bars.opened_at, bars.session_date, bars.expected_no
    from {{ ref(table) }} as bars
    {% if is_incremental() -%}
    inner join reaching
        on
            reaching.series_id = bars.series_id
            and bars.opened_at >= reaching.reads_from
            and bars.opened_at <= reaching.reads_to
    {%- endif %}
    where bars.is_active
    {% if not loop.last %}union{% endif %}
    {% endfor %}
),

neighbours as (
    select
        *,
        lag(expected_no) over in_order as expected_no_before,
        lag(session_date) over in_order as session_before
    from bars
    window in_order as (partition by series_id order by opened_at)
),

gaps as (
    select
        series_id,
        opened_at as bar_after_at,
        expected_no_before + 1 as first_expected_no,
        expected_no - 1 as last_expected_no,
        session_before,
        session_date as session_after,
        expected_no - expected_no_before - 1 as missing_bars
    from neighbours
    where expected_no > expected_no_before + 1

    {% if is_incremental() -%}
    union all

    select
        existing.series_id, existing.bar_after_at, existing.first_expected_no, existing.last_expected_no, existing.session_before,
        existing.session_after, 0
    from {{ this }} as existing
    inner join reaching
        on
            reaching.series_id = existing.series_id
            and existing.bar_after_at >= reaching.changed_from
            and existing.bar_after_at <= reaching.reads_to
    left join neighbours
        on
            neighbours.series_id = existing.series_id
            and neighbours.opened_at = existing.bar_after_at
            and neighbours.expected_no > neighbours.expected_no_before + 1
    where neighbours.series_id is null and existing.missing_bars > 0
    {%- endif %}
)

select gaps.*
from gaps
{% if is_incremental() -%}
{{ left_join_existing('gaps', ['series_id', 'bar_after_at']) }}
where {{ differs('gaps', 'existing', 'series_id', values) }}
{%- endif %}
