{%- set values = ['first_slot_no', 'last_slot_no', 'session_before', 'session_after', 'missing_bars'] -%}
{{
    config(
        materialized='incremental',
        unique_key=['series_id', 'bar_after_at'],
        incremental_strategy='merge',
        indexes=[{'columns': ['series_id', 'bar_after_at'], 'unique': true}],
        post_hook=["{{ advance_watermark(['int_bars_selected', 'int_bars_resampled']) }}", '{{ analyze() }}']
    )
}}
{%- set since = watermark('int_bar_gaps') %}
-- Where expected bars are missing between two bars of a series: one row per gap, named by the bar that ends it. Only
-- the stretch of a series between its first and its last changed bar is looked at again. A gap that is closed stays,
-- with no missing bars.
with

{% if is_incremental() -%}
changed as (
    select series_id, opened_at
    from {{ ref('int_bars_selected') }}
    where changed_in_load > {{ since }}
    union all
    select series_id, opened_at
    from {{ ref('int_bars_resampled') }}
    where changed_in_load > {{ since }}
),

stretches as (
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
                {{ neighbouring_bar(ref('int_bars_selected'), 'max', '<', 'stretches.changed_from') }},
                {{ neighbouring_bar(ref('int_bars_resampled'), 'max', '<', 'stretches.changed_from') }}
            ),
            changed_from
        ) as reads_from,
        coalesce(
            least(
                {{ neighbouring_bar(ref('int_bars_selected'), 'min', '>', 'stretches.changed_to') }},
                {{ neighbouring_bar(ref('int_bars_resampled'), 'min', '>', 'stretches.changed_to') }}
            ),
            changed_to
        ) as reads_to
    from stretches
),
{%- endif %}

bars as (
    {% for table in ['int_bars_selected', 'int_bars_resampled'] -%}
    select bars.series_id, bars.opened_at, bars.session_date, bars.slot_no
    from {{ ref(table) }} as bars
    {% if is_incremental() -%}
    inner join reaching
        on
            reaching.series_id = bars.series_id
            and bars.opened_at >= reaching.reads_from
            and bars.opened_at <= reaching.reads_to
    {%- endif %}
    where bars.is_listed
    {% if not loop.last %}union{% endif %}
    {% endfor %}
),

neighbours as (
    select
        *,
        lag(slot_no) over in_order as slot_no_before,
        lag(session_date) over in_order as session_before
    from bars
    window in_order as (partition by series_id order by opened_at)
),

gaps as (
    select
        series_id,
        opened_at as bar_after_at,
        slot_no_before + 1 as first_slot_no,
        slot_no - 1 as last_slot_no,
        session_before,
        session_date as session_after,
        slot_no - slot_no_before - 1 as missing_bars
    from neighbours
    where slot_no > slot_no_before + 1

    {% if is_incremental() -%}
    union all

    select
        kept.series_id, kept.bar_after_at, kept.first_slot_no, kept.last_slot_no, kept.session_before,
        kept.session_after, 0
    from {{ this }} as kept
    inner join reaching
        on
            reaching.series_id = kept.series_id
            and kept.bar_after_at >= reaching.changed_from
            and kept.bar_after_at <= reaching.reads_to
    left join neighbours
        on
            neighbours.series_id = kept.series_id
            and neighbours.opened_at = kept.bar_after_at
            and neighbours.slot_no > neighbours.slot_no_before + 1
    where neighbours.series_id is null and kept.missing_bars > 0
    {%- endif %}
)

select gaps.*
from gaps
{% if is_incremental() -%}
{{ left_join_kept('gaps', ['series_id', 'bar_after_at']) }}
where {{ differs('gaps', 'kept', 'series_id', values) }}
{%- endif %}
