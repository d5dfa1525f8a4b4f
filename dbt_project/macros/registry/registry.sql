{# SQL: the rows of a small table as one text, NULL if there are none: to see whether any of them changed. #}
{% macro all_rows_of(relation) -%}
    (select {{ joined(row_as_text('listed'), ' ', row_as_text('listed')) }} from {{ relation }} as listed)
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
    coalesce({{ asset }}.calendar, {{ usual_calendar(asset ~ '.asset_class') }})
{%- endmacro %}

{# The calendar of the assets of a class that name none. #}
{% macro usual_calendar(asset_class) -%}
    (
        select min(usual.calendar)
        from {{ ref('calendars') }} as usual
        where {{ position_in_list(asset_class, "coalesce(usual.usual_for, '')") }} is not null
    )
{%- endmacro %}

{# Condition: the market of a row of calendars never closes. #}
{% macro never_closes(calendars) -%}
    ({{ calendars }}.weekdays = '1234567' and {{ calendars }}.opens = '00:00' and {{ calendars }}.closes = '24:00')
{%- endmacro %}

{# Condition: the market of a calendar, given by its name, closes at times. #}
{% macro has_closures(calendar) -%}
    {{ calendar }} in (
        select closing.calendar
        from {{ ref('calendars') }} as closing
        where not {{ never_closes('closing') }}
    )
{%- endmacro %}

{# Condition: bars of this length lie on the clock where a source aligns them so; shorter ones lie on both. #}
{% macro may_lie_on_clock(step_minutes) -%}
    {{ step_minutes }} >= 60 and {{ step_minutes }} < 1440
{%- endmacro %}

{# Condition: one of the sources in the order of a row of the registry has the asset, and bars of that length. All other
   bars are resampled. `asset` has the row as `cells` (row_as_json). #}
{% macro is_served(asset, timeframe) -%}
    exists (
        select 1
        from {{ ref('source_timeframes') }} as served
        where
            served.timeframe = {{ timeframe }}
            and {{ position_in_list('served.source', asset ~ '.sources_in_order') }} is not null
            and case served.source
                {%- for source in sources_of('bars') %}
                when '{{ source }}' then {{ provider_symbol(asset ~ '.cells', source, 'bars') }}
                {%- endfor %}
            end is not null
    )
{%- endmacro %}

{# SQL: the name of the day, and of the week: the two lengths that end with a session and that public tables name. Literals,
   since a planner knows how many rows a name has and not what a select from the seed would give; a test of the seed holds
   them together. #}
{% macro day_timeframe() -%}
    '1d'
{%- endmacro %}
{% macro week_timeframe() -%}
    '1w'
{%- endmacro %}
