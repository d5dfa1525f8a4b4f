{#-
  Every place where SQL engines differ, and nothing else. Models use these names; an engine that is not Postgres
  implements the same macro with its own prefix (spark__...).
-#}

{# -- JSON -------------------------------------------------------------------------------------------------------- #}

{# The elements of a JSON array as rows of column `item`, in their order (column `position`, from 1). #}
{% macro json_items(array) %}{{ return(adapter.dispatch('json_items', 'market_warehouse')(array)) }}{% endmacro %}
{% macro postgres__json_items(array) -%}
    jsonb_array_elements(case when jsonb_typeof({{ array }}) = 'array' then {{ array }} end) with ordinality
{%- endmacro %}

{# The values of a JSON object as rows of column `item`. #}
{% macro json_values(object) %}{{ return(adapter.dispatch('json_values', 'market_warehouse')(object)) }}{% endmacro %}
{% macro postgres__json_values(object) -%}
    (
        select members.value as item
        from jsonb_each(case when jsonb_typeof({{ object }}) = 'object' then {{ object }} end) as members
    )
{%- endmacro %}

{# A member of a JSON object (`payload -> results`), still JSON. Path members are separated by dots. #}
{% macro json_member(document, path) %}{{ return(adapter.dispatch('json_member', 'market_warehouse')(document, path)) }}{% endmacro %}
{% macro postgres__json_member(document, path) -%}
    {{ document }}{% for member in path.split('.') %} -> {{ member if member.isdigit() else "'" ~ member ~ "'" }}{% endfor %}
{%- endmacro %}

{# A member of a JSON object (by name) or array (by number, or by an SQL expression of one) as text. #}
{% macro json_text(document, member) %}{{ return(adapter.dispatch('json_text', 'market_warehouse')(document, member)) }}{% endmacro %}
{% macro postgres__json_text(document, member) -%}
    ({{ document }} ->> {{ member if member is number or '(' in member else "'" ~ member ~ "'" }})
{%- endmacro %}

{# A member as an exact decimal, whether the provider sent a number or a text of one; NULL if it is neither. #}
{% macro json_decimal(document, member) %}{{ return(adapter.dispatch('json_decimal', 'market_warehouse')(document, member)) }}{% endmacro %}
{% macro postgres__json_decimal(document, member) -%}
    {%- set text = json_text(document, member) -%}
    {%- set value = text[1:-1] | replace('->>', '->') -%}
    case jsonb_typeof({{ value }})
        when 'number' then cast({{ value }} as numeric)
        {#- No counted repetition in the pattern: {1,30} made it 6 times slower. #}
        when 'string' then case when length({{ text }}) < 40 and {{ text }} ~ '^-?[0-9]+(\.[0-9]+)?$' then cast({{ text }} as numeric) end
    end
{%- endmacro %}

{# A member as a whole number; NULL if it is not one. #}
{% macro json_integer(document, member) %}{{ return(adapter.dispatch('json_integer', 'market_warehouse')(document, member)) }}{% endmacro %}
{% macro postgres__json_integer(document, member) -%}
    {%- set text = json_text(document, member) -%}
    case when length({{ text }}) < 19 and {{ text }} ~ '^-?[0-9]+$' then cast({{ text }} as bigint) end
{%- endmacro %}

{# Ends a lateral subquery whose columns are to be computed once a row: Postgres otherwise repeats an expression wherever
   its result is used, and reads a large payload out of its compressed store each time (12k bars: 8.4 s instead of 0.1 s). #}
{% macro compute_once() %}{{ return(adapter.dispatch('compute_once', 'market_warehouse')()) }}{% endmacro %}
{% macro default__compute_once() -%}{%- endmacro %}
{% macro postgres__compute_once() -%}
    limit all offset 0
{%- endmacro %}

{# -- time -------------------------------------------------------------------------------------------------------- #}

{# The instant of a count of seconds, milli- or microseconds since 1970; Binance's spot archive changed its unit on
   2025-01-01, so the unit follows from the magnitude: 13 digits are milliseconds until the year 2286. #}
{% macro instant_from_epoch(number) %}{{ return(adapter.dispatch('instant_from_epoch', 'market_warehouse')(number)) }}{% endmacro %}
{% macro postgres__instant_from_epoch(number) -%}
    {#- integer interval arithmetic: to_timestamp() takes a double, which cannot hold microseconds exactly -#}
    (timestamp with time zone '1970-01-01 00:00:00+00' + case
        when {{ number }} >= 100000000000000 then {{ number }} * interval '1 microsecond'
        when {{ number }} >= 100000000000 then {{ number }} * interval '1 millisecond'
        when {{ number }} > -100000000000 then {{ number }} * interval '1 second'
    end)
{%- endmacro %}

{# The instant of a UTC text `YYYY-MM-DD HH:MM:SS`; NULL if it is not one. #}
{% macro instant_from_text(text) %}{{ return(adapter.dispatch('instant_from_text', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__instant_from_text(text) -%}
    case when {{ text }} ~ '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$' then cast({{ text }} || '+00' as timestamp with time zone) end
{%- endmacro %}

{# Whole seconds since 1970 of an instant. #}
{% macro epoch_seconds(instant) %}{{ return(adapter.dispatch('epoch_seconds', 'market_warehouse')(instant)) }}{% endmacro %}
{% macro postgres__epoch_seconds(instant) -%}
    cast(extract(epoch from {{ instant }}) as bigint)
{%- endmacro %}

{# The calendar date at an instant in a time zone. #}
{% macro local_date(instant, time_zone) %}{{ return(adapter.dispatch('local_date', 'market_warehouse')(instant, time_zone)) }}{% endmacro %}
{% macro postgres__local_date(instant, time_zone) -%}
    cast(({{ instant }}) at time zone {{ time_zone }} as date)
{%- endmacro %}

{# The instant of a local wall-clock time (`time` is a time of day, 24:00 included) on a date in a time zone. #}
{% macro local_instant(date, time, time_zone) %}{{ return(adapter.dispatch('local_instant', 'market_warehouse')(date, time, time_zone)) }}{% endmacro %}
{% macro postgres__local_instant(date, time, time_zone) -%}
    ((cast({{ date }} as timestamp without time zone) + cast({{ time }} as interval)) at time zone {{ time_zone }})
{%- endmacro %}

{# The Monday of a date's week. #}
{% macro monday(date) -%}
    cast(date_trunc('week', {{ date }}) as date)
{%- endmacro %}

{# A span of that many minutes. #}
{% macro minutes(count) -%}
    {{ count }} * interval '1 minute'
{%- endmacro %}

{# Now, or the instant that WAREHOUSE_NOW puts in its place (tests, replays). #}
{% macro warehouse_now() -%}
    {%- if env_var('WAREHOUSE_NOW', '') -%}
    cast('{{ modules.datetime.datetime.fromisoformat(env_var('WAREHOUSE_NOW').replace('Z', '+00:00')).isoformat() }}' as timestamp with time zone)
    {%- else -%}
    current_timestamp
    {%- endif -%}
{%- endmacro %}

{# Dates from `first` to `last`, both included, as rows of column `day`. #}
{% macro dates(first, last) %}{{ return(adapter.dispatch('dates', 'market_warehouse')(first, last)) }}{% endmacro %}
{% macro postgres__dates(first, last) -%}
    (select cast(day as date) as day from generate_series({{ first }}, {{ last }}, interval '1 day') as days (day))
{%- endmacro %}

{# -- windows ------------------------------------------------------------------------------------------------------ #}

{# The latest value (a double) in the frame that is not NULL; `number` counts the rows. Standard SQL calls it last_value()
   ignore nulls; a running max() of (number, value) is the same, and passes over rows without a value for nothing. #}
{% macro last_known(value, number, window) %}{{ return(adapter.dispatch('last_known', 'market_warehouse')(value, number, window)) }}{% endmacro %}
{% macro postgres__last_known(value, number, window) -%}
    (max(case when {{ value }} is not null then array[{{ number }}, {{ value }}] end) over {{ window }})[2]
{%- endmacro %}

{# -- numbers and keys --------------------------------------------------------------------------------------------- #}

{# IEEE double precision: `float` would be 4 bytes on some engines. #}
{% macro double(expression) %}{{ return(adapter.dispatch('double', 'market_warehouse')(expression)) }}{% endmacro %}
{% macro postgres__double(expression) -%}
    cast({{ expression }} as double precision)
{%- endmacro %}

{# A stable hash of a text, 0 .. 2^31 - 1, the same on every engine (leading hex digits of its md5). #}
{% macro hash31(text) %}{{ return(adapter.dispatch('hash31', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__hash31(text) -%}
    cast(mod(cast(cast('x' || substr(md5({{ text }}), 1, 8) as bit(32)) as bigint), 2147483648) as integer)
{%- endmacro %}

{# A stable hash of a text, 0 .. 2^60 - 1 (the first 15 hex digits of its md5). #}
{% macro hash63(text) %}{{ return(adapter.dispatch('hash63', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__hash63(text) -%}
    cast(cast('x0' || substr(md5({{ text }}), 1, 15) as bit(64)) as bigint)
{%- endmacro %}

{# Place of a word in a list separated by blanks or commas, to rank by: smaller is earlier, NULL = not in the list. #}
{% macro place_in_list(word, list) -%}
    nullif(position(' ' || {{ word }} || ' ' in ' ' || replace({{ list }}, ',', ' ') || ' '), 0)
{%- endmacro %}

{# A whole number as a UUID: its hexadecimal digits at the end. #}
{% macro uuid_of_number(number) %}{{ return(adapter.dispatch('uuid_of_number', 'market_warehouse')(number)) }}{% endmacro %}
{% macro postgres__uuid_of_number(number) -%}
    cast(lpad(to_hex({{ number }}), 32, '0') as uuid)
{%- endmacro %}

{# The list of those names whose condition holds, in order. #}
{% macro names_where(conditions) %}{{ return(adapter.dispatch('names_where', 'market_warehouse')(conditions)) }}{% endmacro %}
{% macro postgres__names_where(conditions) -%}
    array_remove(array[
        {%- for name, condition in conditions.items() %}
        case when {{ condition }} then '{{ name }}' end{{ ',' if not loop.last }}
        {%- endfor %}
    ], null)
{%- endmacro %}
