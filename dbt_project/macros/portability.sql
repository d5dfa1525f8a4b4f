{#-
  Every place where SQL engines differ, and nothing else. Models use these names; an engine that is not Postgres
  implements the same macro with its own prefix (spark__...).
-#}

{# -- types -------------------------------------------------------------------------------------------------------- #}

{# The types that engines call differently: text without a limit, JSON, an instant in time (never a local time), and an exact
   decimal of as many digits as the engine has. #}
{% macro text_type() %}{{ return(adapter.dispatch('text_type', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__text_type() %}{{ return('text') }}{% endmacro %}
{% macro json_type() %}{{ return(adapter.dispatch('json_type', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__json_type() %}{{ return('jsonb') }}{% endmacro %}
{% macro instant_type() %}{{ return(adapter.dispatch('instant_type', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__instant_type() %}{{ return('timestamp with time zone') }}{% endmacro %}
{% macro number_type() %}{{ return(adapter.dispatch('number_type', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__number_type() %}{{ return('numeric') }}{% endmacro %}

{# -- JSON -------------------------------------------------------------------------------------------------------- #}

{# The elements of a JSON array as rows of column `item`, in their order (column `position`, from 1). #}
{% macro json_items(array) %}{{ return(adapter.dispatch('json_items', 'market_warehouse')(array)) }}{% endmacro %}
{% macro postgres__json_items(array) -%}
    jsonb_array_elements(case when jsonb_typeof({{ array }}) = 'array' then {{ array }} end) with ordinality
{%- endmacro %}

{# The values of a JSON object, or of an array in its place, as rows of column `item`. #}
{% macro json_values(object) %}{{ return(adapter.dispatch('json_values', 'market_warehouse')(object)) }}{% endmacro %}
{% macro postgres__json_values(object) -%}
    (
        select members.value as item
        from jsonb_each(case when jsonb_typeof({{ object }}) = 'object' then {{ object }} end) as members
        union all
        select elements.value
        from jsonb_array_elements(case when jsonb_typeof({{ object }}) = 'array' then {{ object }} end) as elements
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

{# A JSON number or string itself as text; NULL of anything else. #}
{% macro json_own_text(value) %}{{ return(adapter.dispatch('json_own_text', 'market_warehouse')(value)) }}{% endmacro %}
{% macro postgres__json_own_text(value) -%}
    case when jsonb_typeof({{ value }}) in ('number', 'string') then {{ value }} #>> '{}' end
{%- endmacro %}

{# A member as an exact decimal, whether the provider sent a number or a text of one (also in scientific notation); NULL if
   it is neither. Numbers of JSON have no limit, so whoever gives the result a type of its own asks fits() first. #}
{% macro json_decimal(document, member) %}{{ return(adapter.dispatch('json_decimal', 'market_warehouse')(document, member)) }}{% endmacro %}
{% macro postgres__json_decimal(document, member) -%}
    {%- set text = json_text(document, member) -%}
    {%- set value = text[1:-1] | replace('->>', '->') -%}
    case jsonb_typeof({{ value }})
        when 'number' then cast({{ value }} as numeric)
        when 'string'
            then case
                {#- The usual text first; no counted repetition in a pattern: {1,30} made it 6 times slower. #}
                when length({{ text }}) < 40 and {{ text }} ~ '^-?[0-9]+(\.[0-9]+)?$' then cast({{ text }} as numeric)
                when length({{ text }}) < 80 and {{ text }} ~ '{{ decimal_pattern() }}' then cast({{ text }} as numeric)
            end
    end
{%- endmacro %}

{# What else numeric can read and is finite: signs, blanks around, exponents of up to three digits. #}
{% macro decimal_pattern() -%}
    ^[ \t\r\n]*[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]?[0-9]?[0-9])?[ \t\r\n]*$
{%- endmacro %}

{# A member as a whole number of up to 18 digits, sent as a number or as text; NULL if it is not one. #}
{% macro json_integer(document, member) %}{{ return(adapter.dispatch('json_integer', 'market_warehouse')(document, member)) }}{% endmacro %}
{% macro default__json_integer(document, member) -%}
    {{ integer_from_text(json_text(document, member)) }}
{%- endmacro %}

{# A text as a whole number of up to 18 digits, which `1718000000.0` and `1.718e9` are, too; NULL if it is not one. #}
{% macro integer_from_text(text) %}{{ return(adapter.dispatch('integer_from_text', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__integer_from_text(text) -%}
    case
        when length({{ text }}) < 19 and {{ text }} ~ '^-?[0-9]+$' then cast({{ text }} as bigint)
        when length({{ text }}) < 40 and {{ text }} ~ '{{ decimal_pattern() }}'
            then case
                when abs(cast({{ text }} as numeric)) < 1e18 and mod(cast({{ text }} as numeric), 1) = 0
                    then cast(cast({{ text }} as numeric) as bigint)
            end
    end
{%- endmacro %}

{# A JSON object of names and SQL expressions. #}
{% macro json_object(members) %}{{ return(adapter.dispatch('json_object', 'market_warehouse')(members)) }}{% endmacro %}
{% macro postgres__json_object(members) -%}
    jsonb_build_object(
        {%- for name, expression in members.items() %}'{{ name }}', {{ expression }}{{ ', ' if not loop.last }}{% endfor -%}
    )
{%- endmacro %}

{# A row of a table as a JSON object of its columns. #}
{% macro row_as_json(alias) %}{{ return(adapter.dispatch('row_as_json', 'market_warehouse')(alias)) }}{% endmacro %}
{% macro postgres__row_as_json(alias) -%}
    to_jsonb({{ alias }}.*)
{%- endmacro %}

{# A row of a table as one text, to see whether it changed; not the same text on each engine. #}
{% macro row_as_text(alias) %}{{ return(adapter.dispatch('row_as_text', 'market_warehouse')(alias)) }}{% endmacro %}
{% macro postgres__row_as_text(alias) -%}
    cast({{ alias }}.* as text)
{%- endmacro %}

{# A JSON array of one element. #}
{% macro json_array_of(item) %}{{ return(adapter.dispatch('json_array_of', 'market_warehouse')(item)) }}{% endmacro %}
{% macro postgres__json_array_of(item) -%}
    jsonb_build_array({{ item }})
{%- endmacro %}

{# Ends a lateral subquery whose columns are to be computed once a row: Postgres otherwise repeats an expression wherever
   its result is used, and reads a large payload out of its compressed store each time (12k bars: 8.4 s instead of 0.1 s).
   `for_each`, where each row is another one: a column that distinguishes the answers. Postgres otherwise expects the same
   rows over and over, and keeps every result in a cache that it never finds one in (200,000 klines on Postgres 15: 3.5 s of
   CPU instead of 1.3). #}
{% macro optimization_fence(for_each=none) %}{{ return(adapter.dispatch('optimization_fence', 'market_warehouse')(for_each)) }}{% endmacro %}
{% macro default__optimization_fence(for_each=none) -%}{%- endmacro %}
{% macro postgres__optimization_fence(for_each=none) -%}
    {%- if for_each %}
    where ({{ for_each }} is null or {{ for_each }} is not null)
    {% endif -%}
    limit all offset 0
{%- endmacro %}

{# -- time -------------------------------------------------------------------------------------------------------- #}

{# A literal instant, of a text with its offset. #}
{% macro instant(text) %}{{ return(adapter.dispatch('instant', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__instant(text) -%}
    timestamp with time zone '{{ text }}'
{%- endmacro %}

{# The instant of a count of seconds, milli- or microseconds since 1970; Binance's spot archive changed its unit on
   2025-01-01, so the unit follows from the magnitude: 13 digits are milliseconds. NULL outside the years 1900 to 2199:
   no provider has such bars, and what reads them (Python ends with the year 9999) would fail. #}
{% macro instant_from_epoch(number) %}{{ return(adapter.dispatch('instant_from_epoch', 'market_warehouse')(number)) }}{% endmacro %}
{% macro postgres__instant_from_epoch(number) -%}
    {#- integer interval arithmetic: to_timestamp() takes a double, which cannot hold microseconds exactly -#}
    (timestamp with time zone '1970-01-01 00:00:00+00' + case
        when {{ number }} between 100000000000000 and 7258118399999999 then {{ number }} * interval '1 microsecond'
        when {{ number }} between 100000000000 and 7258118399999 then {{ number }} * interval '1 millisecond'
        when {{ number }} between -2208988800 and 7258118399 then {{ number }} * interval '1 second'
    end)
{%- endmacro %}

{# The date of a text `YYYY-MM-DD` of the years 1900 to 2199; NULL if it is not one ("", TBD, 2026-02-30). #}
{% macro date_from_text(text) %}{{ return(adapter.dispatch('date_from_text', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__date_from_text(text) -%}
    case
        when {{ text }} ~ '^(19|20|21)[0-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
            then case
                when cast(substr({{ text }}, 9, 2) as integer) <= case substr({{ text }}, 6, 2)
                    when '02'
                        then case
                            when mod(cast(substr({{ text }}, 1, 4) as integer), 400) in (100, 200, 300) then 28
                            when mod(cast(substr({{ text }}, 1, 4) as integer), 4) = 0 then 29
                            else 28
                        end
                    when '04' then 30
                    when '06' then 30
                    when '09' then 30
                    when '11' then 30
                    else 31
                end
                    then make_date(
                        cast(substr({{ text }}, 1, 4) as integer),
                        cast(substr({{ text }}, 6, 2) as integer),
                        cast(substr({{ text }}, 9, 2) as integer)
                    )
            end
    end
{%- endmacro %}

{# The instant of a UTC text `YYYY-MM-DD HH:MM:SS`; NULL if it is not one. #}
{% macro instant_from_text(text) %}{{ return(adapter.dispatch('instant_from_text', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__instant_from_text(text) -%}
    case
        when length({{ text }}) = 19 and {{ text }} ~ ' ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$'
            then {{ local_instant(date_from_text('substr(' ~ text ~ ', 1, 10)'), 'substr(' ~ text ~ ', 12)', "'UTC'") }}
    end
{%- endmacro %}

{# The name of a time zone, if the database knows it; else NULL. Whatever a provider calls so goes through this: an unknown
   name is an error to Postgres, and one answer's would stop every build. #}
{% macro known_time_zone(name) %}{{ return(adapter.dispatch('known_time_zone', 'market_warehouse')(name)) }}{% endmacro %}
{% macro postgres__known_time_zone(name) -%}
    case
        -- As the server itself compares them: in Turkish 'America/Indiana' has a small letter of its own.
        when lower({{ name }} collate "C") in (
            select lower(zones.name collate "C")
            from pg_timezone_names as zones
            -- What these mean is the server's affair.
            where zones.name not in ('localtime', 'posixrules', 'Factory')
        )
            then {{ name }}
    end
{%- endmacro %}

{# Whole seconds since 1970 of an instant. #}
{% macro epoch_seconds(instant) %}{{ return(adapter.dispatch('epoch_seconds', 'market_warehouse')(instant)) }}{% endmacro %}
{% macro postgres__epoch_seconds(instant) -%}
    cast(extract(epoch from {{ instant }}) as bigint)
{%- endmacro %}

{# Seconds from one instant to another, fractions included. #}
{% macro seconds_between(later, earlier) %}{{ return(adapter.dispatch('seconds_between', 'market_warehouse')(later, earlier)) }}{% endmacro %}
{% macro postgres__seconds_between(later, earlier) -%}
    extract(epoch from {{ later }} - {{ earlier }})
{%- endmacro %}

{# The calendar date at an instant in a time zone. #}
{% macro local_date(instant, time_zone) %}{{ return(adapter.dispatch('local_date', 'market_warehouse')(instant, time_zone)) }}{% endmacro %}
{% macro postgres__local_date(instant, time_zone) -%}
    cast(({{ instant }}) at time zone {{ time_zone }} as date)
{%- endmacro %}

{# The wall-clock time (HH:MM, as text) at an instant in a time zone. #}
{% macro local_time(instant, time_zone) %}{{ return(adapter.dispatch('local_time', 'market_warehouse')(instant, time_zone)) }}{% endmacro %}
{% macro postgres__local_time(instant, time_zone) -%}
    to_char({{ instant }} at time zone {{ time_zone }}, 'HH24:MI')
{%- endmacro %}

{# The instant of a local wall-clock time (`time` is a time of day, 24:00 included) on a date in a time zone. #}
{% macro local_instant(date, time, time_zone) %}{{ return(adapter.dispatch('local_instant', 'market_warehouse')(date, time, time_zone)) }}{% endmacro %}
{% macro postgres__local_instant(date, time, time_zone) -%}
    ((cast({{ date }} as timestamp without time zone) + cast({{ time }} as interval)) at time zone {{ time_zone }})
{%- endmacro %}

{# The Monday of a date's week. #}
{% macro monday(date) %}{{ return(adapter.dispatch('monday', 'market_warehouse')(date)) }}{% endmacro %}
{% macro postgres__monday(date) -%}
    cast(date_trunc('week', cast({{ date }} as timestamp without time zone)) as date)
{%- endmacro %}

{# The weekday of a date: 1 is Monday, 7 is Sunday. #}
{% macro iso_weekday(date) %}{{ return(adapter.dispatch('iso_weekday', 'market_warehouse')(date)) }}{% endmacro %}
{% macro postgres__iso_weekday(date) -%}
    extract(isodow from {{ date }})
{%- endmacro %}

{# Days from one date to another. #}
{% macro days_between(later, earlier) %}{{ return(adapter.dispatch('days_between', 'market_warehouse')(later, earlier)) }}{% endmacro %}
{% macro postgres__days_between(later, earlier) -%}
    ({{ later }} - {{ earlier }})
{%- endmacro %}

{# The minute of the day of a text HH:MM. #}
{% macro minute_of_day(time) %}{{ return(adapter.dispatch('minute_of_day', 'market_warehouse')(time)) }}{% endmacro %}
{% macro postgres__minute_of_day(time) -%}
    cast(extract(hour from cast({{ time }} as time)) * 60 + extract(minute from cast({{ time }} as time)) as integer)
{%- endmacro %}

{# An interval of that many minutes. #}
{% macro minutes(count) -%}
    {{ count }} * interval '1 minute'
{%- endmacro %}

{# Now, or the instant that WAREHOUSE_NOW puts in its place (tests, replays). #}
{% macro warehouse_now() -%}
    {%- if env_var('WAREHOUSE_NOW', '') -%}
    cast('{{ modules.datetime.datetime.fromisoformat(env_var('WAREHOUSE_NOW').replace('Z', '+00:00')).isoformat() }}' as {{ instant_type() }})
    {%- else -%}
    current_timestamp
    {%- endif -%}
{%- endmacro %}

{# The moment itself, not that of the transaction's begin. #}
{% macro this_moment() %}{{ return(adapter.dispatch('this_moment', 'market_warehouse')()) }}{% endmacro %}
{% macro postgres__this_moment() -%} clock_timestamp() {%- endmacro %}
{% macro default__this_moment() -%} current_timestamp() {%- endmacro %}

{# Dates from `first` to `last`, both included, as rows of column `day`. #}
{% macro dates(first, last) %}{{ return(adapter.dispatch('dates', 'market_warehouse')(first, last)) }}{% endmacro %}
{% macro postgres__dates(first, last) -%}
    {#- Of timestamps without zone: of dates Postgres makes instants in the zone of the session. -#}
    (
        select cast(day as date) as day
        from generate_series(
            cast({{ first }} as timestamp without time zone), cast({{ last }} as timestamp without time zone), interval '1 day'
        ) as days (day)
    )
{%- endmacro %}

{# Whole numbers from `first` to `last`, both included, as rows of column `number`. #}
{% macro whole_numbers(first, last) %}{{ return(adapter.dispatch('whole_numbers', 'market_warehouse')(first, last)) }}{% endmacro %}
{% macro postgres__whole_numbers(first, last) -%}
    (select number from generate_series({{ first }}, {{ last }}) as numbers (number))
{%- endmacro %}

{# Until when a good answer (a row of stg_ops__answers) speaks for its window: the rule of extract, which is in the database
   (extract/migrations/0170_lengths_and_zones_of_seeds.sql). NULL = for none of it. `time_zone`: the asset's. #}
{% macro covered_to(answers, step_minutes, time_zone) %}{{ return(adapter.dispatch('covered_to', 'market_warehouse')(answers, step_minutes, time_zone)) }}{% endmacro %}
{% macro postgres__covered_to(answers, step_minutes, time_zone) -%}
    ops.covered_to(
        {{ answers }}.endpoint, {{ answers }}.status, {{ minutes(step_minutes) }}, {{ time_zone }},
        {%- for column in ['window_start', 'window_end', 'requested_at', 'row_count', 'first_row_at', 'last_row_at'] %}
        {{ answers }}.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{# -- windows ------------------------------------------------------------------------------------------------------ #}

{# The latest value (a double) in the frame that is not NULL; `number` counts the rows. Standard SQL calls it last_value()
   ignore nulls; a running max() of (number, value) is the same, and passes over rows without a value for nothing. #}
{% macro last_known(value, number, window) %}{{ return(adapter.dispatch('last_known', 'market_warehouse')(value, number, window)) }}{% endmacro %}
{% macro postgres__last_known(value, number, window) -%}
    (max(case when {{ value }} is not null then array[{{ number }}, {{ value }}] end) over {{ window }})[2]
{%- endmacro %}

{# Aggregate: the values of a group as one text, in an order; NULL if there are none. #}
{% macro joined(value, separator, order_by, distinct=false) %}{{ return(adapter.dispatch('joined', 'market_warehouse')(value, separator, order_by, distinct)) }}{% endmacro %}
{% macro postgres__joined(value, separator, order_by, distinct) -%}
    string_agg({{ 'distinct ' if distinct }}{{ value }}, '{{ separator }}' order by {{ order_by }})
{%- endmacro %}

{# The values of a window's frame as one text; `window` is its definition. #}
{% macro joined_over(value, separator, window) %}{{ return(adapter.dispatch('joined_over', 'market_warehouse')(value, separator, window)) }}{% endmacro %}
{% macro postgres__joined_over(value, separator, window) -%}
    string_agg({{ value }}, '{{ separator }}') over ({{ window }})
{%- endmacro %}

{# -- numbers and keys --------------------------------------------------------------------------------------------- #}

{# IEEE double precision: `float` would be 4 bytes on some engines. #}
{% macro double(expression) %}{{ return(adapter.dispatch('double', 'market_warehouse')(expression)) }}{% endmacro %}
{% macro postgres__double(expression) -%}
    cast({{ expression }} as double precision)
{%- endmacro %}

{# A double rounded to a whole number, one half to the even one: what Postgres does with doubles, and others do not. #}
{% macro nearest_integer(double) %}{{ return(adapter.dispatch('nearest_integer', 'market_warehouse')(double)) }}{% endmacro %}
{% macro postgres__nearest_integer(double) -%}
    round({{ double }})
{%- endmacro %}

{# The quotient of two whole numbers without its fraction. #}
{% macro whole_quotient(number, divisor) %}{{ return(adapter.dispatch('whole_quotient', 'market_warehouse')(number, divisor)) }}{% endmacro %}
{% macro postgres__whole_quotient(number, divisor) -%}
    {{ number }} / {{ divisor }}
{%- endmacro %}

{# A decimal of which it is known how many digits it has, before it is multiplied or divided: an engine whose decimals end at 38
   digits would count with more than there can be, and overflow. #}
{% macro in_digits(expression, precision, digits) %}{{ return(adapter.dispatch('in_digits', 'market_warehouse')(expression, precision, digits)) }}{% endmacro %}
{% macro postgres__in_digits(expression, precision, digits) -%}
    {{ expression }}
{%- endmacro %}

{# How many of some expressions are not NULL. #}
{% macro count_present(expressions) %}{{ return(adapter.dispatch('count_present', 'market_warehouse')(expressions)) }}{% endmacro %}
{% macro postgres__count_present(expressions) -%}
    num_nonnulls({{ expressions | join(', ') }})
{%- endmacro %}
{% macro default__count_present(expressions) -%}
    (
    {%- for expression in expressions -%}
    {{ ' + ' if not loop.first }}case when {{ expression }} is not null then 1 else 0 end
    {%- endfor -%}
    )
{%- endmacro %}

{# A decimal as numeric(precision, digits); NULL where that cannot hold it. Every sum and product of provider numbers ends
   in this: a cast of one that is too large is an error, which stops the build of all symbols. #}
{% macro fits(expression, precision, digits) %}{{ return(adapter.dispatch('fits', 'market_warehouse')(expression, precision, digits)) }}{% endmacro %}
{% macro default__fits(expression, precision, digits) -%}
    cast(
        case when abs({{ expression }}) <= {{ '9' * (precision - digits) }}.{{ '9' * digits }} then {{ expression }} end
        as numeric({{ precision }}, {{ digits }})
    )
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

{# Position of an observation in a list separated by blanks or commas, to rank by: smaller is earlier, NULL = not in the list. #}
{% macro position_in_list(observation, list) -%}
    nullif(position(' ' || {{ observation }} || ' ' in ' ' || replace({{ list }}, ',', ' ') || ' '), 0)
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

{# The words of a text with blanks between them, as rows of column `item`; none of NULL. #}
{% macro items_of(text) %}{{ return(adapter.dispatch('items_of', 'market_warehouse')(text)) }}{% endmacro %}
{% macro postgres__items_of(text) -%}
    (select parts.part as item from unnest(string_to_array({{ text }}, ' ')) as parts (part))
{%- endmacro %}

{# The first or second part of a pair like 4:1. #}
{% macro part_of_pair(pair, number) %}{{ return(adapter.dispatch('part_of_pair', 'market_warehouse')(pair, number)) }}{% endmacro %}
{% macro postgres__part_of_pair(pair, number) -%}
    split_part({{ pair }}, ':', {{ number }})
{%- endmacro %}
