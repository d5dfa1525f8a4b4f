{#- Which base bars are missing because nobody traded: one rule for completeness, resampling and the verdicts of gaps, see
    docs/reference/coverage.md ("No trades"). int_ranges_without_trades applies it. -#}

{# How long after a moment a source must have been asked for its silence since the last row to mean anything: consolidated
   tapes are published up to a quarter of an hour late. #}
{% macro publication_delay() -%}
    interval '30 minutes'
{%- endmacro %}

{# Condition on one run of missing bars, `run_bars` long, in a session of which so many bars are known (there, or covered
   by an answer and missing): nobody traded. That is the case of an hour at most, or of a thin session: most of what is
   known is missing, and what is there forms groups of 20 minutes at most (two bars of coarser timeframes), on
   average. Without the latter the half of a day that a source had lost would be one without trades. #}
{% macro is_without_trades() -%}
    (
        run_bars * step_minutes <= 60
        or (
            bars_missing * 2 > bars_known
            and bars_there * step_minutes <= groups_there * greatest(20, 2 * step_minutes)
        )
    )
{%- endmacro %}

{# SQL: the sessions (series_id, session_date) in which, since a load, something changed that the rule speaks of: a bar,
   an answer, a refused row; or the session was the first one of its series until older bars came. #}
{% macro changed_sessions(since) -%}
    (
        select
            series_id,
            session_date
        from {{ ref('int_bars_selected') }}
        where changed_in_batch > {{ since }}

        union

        select
            series_id,
            session_date
        from {{ ref('int_answered_sessions') }}
        where batch > {{ since }}

        union

        select
            rejected.series_id,
            {{ local_date('rejected.opened_at', 'series.time_zone') }}
        from {{ ref('int_bars_rejected') }} as rejected
        inner join {{ ref('int_series') }} as series on series.series_id = rejected.series_id
        where rejected.batch > {{ since }}

        union

        select
            changed.series_id,
            firsts.session_date
        from (
            select
                series_id,
                min(opened_at) as opened_at
            from {{ ref('int_bars_selected') }}
            where changed_in_batch > {{ since }}
            group by series_id
        ) as changed
        inner join lateral (
            select
                known.session_date,
                known.opened_at
            from {{ ref('int_bars_selected') }} as known
            where known.series_id = changed.series_id and known.first_batch <= {{ since }} and known.is_active
            order by known.opened_at
            limit 1
        ) as firsts on firsts.opened_at > changed.opened_at
    )
{%- endmacro %}

{# Pre-hook of int_ranges_without_trades, in its transaction: deletes the rows of sessions that are classified again. #}
{% macro delete_changed_sessions() %}
    {%- if is_incremental() %}
    delete from {{ this }} as ranges
    using {{ changed_sessions(watermark(this.identifier)) }} as changed_rows
    where changed_rows.series_id = ranges.series_id and changed_rows.session_date = ranges.session_date
    ;
    {{ delete_series_of_other_rules() }}
    {%- endif %}
{% endmacro %}

{# Which expected bar of its session (a row of `sessions`) an instant lies in, from 0 on. #}
{% macro bar_of_session(instant) -%}
    cast(floor(
        ({{ epoch_seconds(instant) }} - {{ epoch_seconds('sessions.first_expected_at') }}) / (60.0 * sessions.step_minutes)
    ) as integer)
{%- endmacro %}

{# The load until which something is so that is so still: above all numbers. #}
{% macro in_force() %}{{ return(2147483647) }}{% endmacro %}

{# Join with the base bars that had no trades, each with the loads from which on and until which that was known, of the
   day (the week, for a weekly bar) that begins on `first_day`. By index, day by day. #}
{% macro bars_without_trades(series_id, step_minutes, first_day, of_step_minutes) -%}
    inner join lateral (
        select
            ranges.opens_from + {{ minutes('numbers.number * ' ~ step_minutes) }} as opened_at,
            ranges.from_batch,
            ranges.to_batch
        from {{ ref('int_ranges_without_trades') }} as ranges
        cross join lateral {{ whole_numbers(0, 'ranges.bars - 1') }} as numbers
        where
            ranges.series_id = {{ series_id }}
            and ranges.session_date >= {{ first_day }}
            and ranges.session_date <= {{ first_day }} + case when {{ of_step_minutes }} = 10080 then 6 else 0 end
        {{ optimization_fence() }}
    ) as quiet on true
{%- endmacro %}
