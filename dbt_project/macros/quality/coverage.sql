{#- The state machine of missing bars, see docs/reference/coverage.md. -#}

{# After how many hours, counted from the first look, a range is looked at again that was answered without rows:
   AGAIN_AFTER of extract/coverage/looks.py. Before them the next run does. #}
{% macro look_again_after_hours() %}{{ return([1, 6, 24, 72, 168, 720]) }}{% endmacro %}

{# SQL: when a range is to be looked at again; NULL = not by itself. From a day on at midnight: what was missed on one day is
   then asked for in one request. #}
{% macro next_look_at(times, first_at, last_at) -%}
    case
        when {{ times }} < 2 then {{ last_at }}
        {%- for hours in look_again_after_hours() %}
        {%- set at = first_at ~ " + interval '" ~ hours ~ " hours'" %}
        {%- if hours >= 24 %}
        {%- set at = local_instant(local_date(at, "'UTC'") ~ ' + 1', "'00:00'", "'UTC'") %}
        {%- endif %}
        when {{ at }} > {{ last_at }} then {{ at }}
        {%- endfor %}
    end
{%- endmacro %}

{# SQL: the answers of one length class that may hold a missing range (a row of `missing`), found by the index. An answer
   of more than eight days is looked up among the long ones: otherwise each range would be compared with all answers before. #}
{% macro answers_around(is_long) -%}
    select answers.*
    from {{ ref('int_answers') }} as answers
    where
        answers.is_long = {{ is_long }}
        and answers.symbol = missing.symbol
        and answers.asset_class = missing.asset_class
        and answers.timeframe = missing.asked_timeframe
        {% if not is_long -%}
        and answers.asked_from > missing.misses_from - interval '8 days'
        {% endif -%}
        and answers.asked_from < missing.misses_to
        and answers.asked_to > missing.misses_from
{%- endmacro %}
