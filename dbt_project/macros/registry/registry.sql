{# SQL: the rows of a small table as one text, NULL if there are none: to see whether any of them changed. #}
{% macro all_rows_of(relation) -%}
    (select string_agg(cast(listed.* as text), ' ' order by cast(listed.* as text)) from {{ relation }} as listed)
{%- endmacro %}

{# SQL: all but the registry that a bar's verdict depends on, as one text. #}
{% macro classification_settings() -%}
    concat_ws(
        '|', {{ all_rows_of(ref('freshness_sla')) }}, {{ all_rows_of(ref('reconciliation_tolerances')) }},
        '{{ var('min_data_completeness') }}', '{{ var('min_quality_score') }}', '{{ var('validate_on_insert') | string | lower }}'
    )
{%- endmacro %}

{# The last day of the bar of `series` (int_series) that begins on that date. #}
{% macro last_day_of_bar(date) -%}
    {{ date }} + case when series.step_minutes = 10080 then 6 else 0 end
{%- endmacro %}

{# Condition: the registry lists the asset of `series` (int_series) on that date, or on any day up to `last_date`. Only a
   series that was listed nowhere for a while in between is looked up row by row. #}
{% macro is_active_on(date, last_date=none) -%}
    (
        (series.active_from is null or {{ last_date or date }} >= series.active_from)
        and (series.active_to is null or {{ date }} <= series.active_to)
        and (
            series.has_pause is not true
            or exists (
                select 1
                from {{ ref('assets') }} as listings
                where
                    listings.symbol = series.symbol
                    and listings.asset_class = series.asset_class
                    and {{ last_date or date }} >= coalesce(listings.active_from, date '0001-01-01')
                    and {{ date }} <= coalesce(listings.active_to, date '9999-12-31')
            )
        )
    )
{%- endmacro %}

{# The calendar of a row of the registry; of one that names none the usual one of its class, as in extract/calendar/calendars.py:
   its answers were loaded, and without a calendar the mart stayed empty without a word. #}
{% macro calendar_of(asset) -%}
    coalesce({{ asset }}.calendar, case when {{ asset }}.asset_class = 'crypto' then '24/7' else 'XNYS' end)
{%- endmacro %}
