{#-
  Spark's side of portability.sql: Spark 3.5 with ANSI, exact decimals (allowPrecisionLoss=false) and the session in UTC, as
  scripts/spark sets them. JSON is text there; a number of it passes through a double.
-#}

{# -- types -------------------------------------------------------------------------------------------------------- #}

{% macro spark__text_type() %}{{ return('string') }}{% endmacro %}
{% macro spark__json_type() %}{{ return('string') }}{% endmacro %}
{% macro spark__instant_type() %}{{ return('timestamp') }}{% endmacro %}
{#- No more digits than 38 in all; a plain `numeric` would be decimal(10, 0). #}
{% macro spark__number_type() %}{{ return('decimal(38, 18)') }}{% endmacro %}

{# -- JSON -------------------------------------------------------------------------------------------------------- #}

{% macro spark__json_items(array) -%}
    inline(transform(
        from_json({{ array }}, 'array<string>'), (item, place) -> struct(item as item, cast(place + 1 as bigint) as position)
    ))
{%- endmacro %}

{% macro spark__json_values(object) -%}
    inline(transform(
        coalesce(
            case when {{ object }} like '[%' then from_json({{ object }}, 'array<string>') end,
            map_values(from_json({{ object }}, 'map<string, string>'))
        ),
        item -> struct(item as item)
    ))
{%- endmacro %}

{% macro spark__json_member(document, path) -%}
    get_json_object({{ document }}, '$
    {%- for member in path.split('.') %}{{ '[' ~ member ~ ']' if member.isdigit() else '.' ~ member }}{% endfor %}')
{%- endmacro %}

{% macro spark__json_text(document, member) -%}
    {%- if member is number and member >= 0 -%}
    get_json_object({{ document }}, '$[{{ member }}]')
    {%- elif member is number -%}
    try_element_at(from_json({{ document }}, 'array<string>'), {{ member }})
    {%- elif '(' in member -%}
    try_element_at(from_json({{ document }}, 'array<string>'), {{ member }} + 1)
    {%- else -%}
    get_json_object({{ document }}, '$.{{ member }}')
    {%- endif -%}
{%- endmacro %}

{#- An element of an array that was taken apart: a text has lost its quotes, a structure begins with its bracket. #}
{% macro spark__json_own_text(value) -%}
    case when substr({{ value }}, 1, 1) not in ('[', '{') and {{ value }} not in ('true', 'false') then {{ value }} end
{%- endmacro %}

{% macro spark__json_decimal(document, member) -%}
    try_cast({{ json_text(document, member) }} as {{ number_type() }})
{%- endmacro %}

{% macro spark__integer_from_text(text) -%}
    case
        when length({{ text }}) < 19 and {{ text }} rlike '^-?[0-9]+$' then cast({{ text }} as bigint)
        when
            abs(try_cast({{ text }} as {{ number_type() }})) < 1000000000000000000
            and mod(try_cast({{ text }} as {{ number_type() }}), 1) = 0
            then cast(try_cast({{ text }} as {{ number_type() }}) as bigint)
    end
{%- endmacro %}

{% macro spark__json_object(members) -%}
    to_json(named_struct(
        {%- for name, expression in members.items() %}'{{ name }}', {{ expression }}{{ ', ' if not loop.last }}{% endfor -%}
    ))
{%- endmacro %}

{% macro spark__row_as_json(alias) -%} to_json(struct({{ alias }}.*)) {%- endmacro %}
{% macro spark__row_as_text(alias) -%} to_json(struct({{ alias }}.*)) {%- endmacro %}
{% macro spark__json_array_of(item) -%} concat('[', {{ item }}, ']') {%- endmacro %}

{# -- time -------------------------------------------------------------------------------------------------------- #}

{% macro spark__instant(text) -%} timestamp '{{ text }}' {%- endmacro %}

{% macro spark__instant_from_epoch(number) -%}
    case
        when {{ number }} between 100000000000000 and 7258118399999999 then timestamp_micros({{ number }})
        when {{ number }} between 100000000000 and 7258118399999 then timestamp_millis({{ number }})
        when {{ number }} between -2208988800 and 7258118399 then timestamp_seconds({{ number }})
    end
{%- endmacro %}

{% macro spark__date_from_text(text) -%}
    case
        when {{ text }} rlike '^(19|20|21)[0-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
            then try_cast({{ text }} as date)
    end
{%- endmacro %}

{% macro spark__instant_from_text(text) -%}
    case
        when {{ text }} rlike '^(19|20|21)[0-9][0-9]-[0-9][0-9]-[0-9][0-9] ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$'
            then try_cast({{ text }} as timestamp)
    end
{%- endmacro %}

{#- Python's list and Java's are of the same data base. #}
{% macro spark__known_time_zone(name) -%}
    case when {{ name }} in ('{{ modules.pytz.all_timezones | join("', '") }}') then {{ name }} end
{%- endmacro %}

{% macro spark__epoch_seconds(instant) -%} unix_seconds({{ instant }}) {%- endmacro %}

{% macro spark__seconds_between(later, earlier) -%}
    (cast(unix_micros({{ later }}) - unix_micros({{ earlier }}) as decimal(20, 0)) / 1000000)
{%- endmacro %}

{% macro spark__local_date(instant, time_zone) -%}
    cast(from_utc_timestamp({{ instant }}, {{ time_zone }}) as date)
{%- endmacro %}

{% macro spark__local_time(instant, time_zone) -%}
    date_format(from_utc_timestamp({{ instant }}, {{ time_zone }}), 'HH:mm')
{%- endmacro %}

{% macro spark__local_instant(date, time, time_zone) -%}
    to_utc_timestamp(
        cast({{ date }} as timestamp) + make_dt_interval(
            0, cast(split_part({{ time }}, ':', 1) as int), cast(split_part({{ time }}, ':', 2) as int), 0
        ),
        {{ time_zone }}
    )
{%- endmacro %}

{% macro spark__monday(date) -%} cast(date_trunc('week', {{ date }}) as date) {%- endmacro %}
{% macro spark__iso_weekday(date) -%} (weekday({{ date }}) + 1) {%- endmacro %}
{% macro spark__days_between(later, earlier) -%} datediff({{ later }}, {{ earlier }}) {%- endmacro %}

{% macro spark__minute_of_day(time) -%}
    (cast(split_part({{ time }}, ':', 1) as int) * 60 + cast(split_part({{ time }}, ':', 2) as int))
{%- endmacro %}

{#- sequence() counts backwards where the last one is before the first. #}
{% macro spark__dates(first, last) -%}
    inline(transform(case when {{ first }} <= {{ last }} then sequence({{ first }}, {{ last }}) end, day -> struct(day as day)))
{%- endmacro %}

{% macro spark__whole_numbers(first, last) -%}
    inline(transform(
        case when {{ first }} <= {{ last }} then sequence(cast({{ first }} as int), cast({{ last }} as int)) end,
        number -> struct(number as number)
    ))
{%- endmacro %}

{#- The rule of extract/migrations/0170_lengths_and_zones_of_seeds.sql, which Spark cannot call. #}
{% macro spark__covered_to(answers, step_minutes, time_zone) -%}
    {%- set by_request = 'least(' ~ answers ~ '.window_end, ' ~ answers ~ '.requested_at' -%}
    {%- set last_day = local_date(answers ~ '.last_row_at', time_zone) -%}
    case
        when {{ answers }}.status not in ('ok', 'unchanged') then {{ answers }}.window_end
        when
            {{ answers }}.endpoint not in (
                'bars', 'grouped_daily', 'funding', 'metrics', 'open_interest', 'long_short_ratio', 'taker_ratio',
                'exchange_inflow'
            )
            then {{ by_request }})
        when {{ answers }}.row_count is null and {{ answers }}.status = 'unchanged' then null
        when {{ answers }}.row_count = 0 then null
        when {{ answers }}.last_row_at is null or {{ answers }}.endpoint = 'metrics' then {{ by_request }})
        when {{ answers }}.endpoint in ('bars', 'grouped_daily') and {{ step_minutes }} = 1440
            then {{ by_request }}, {{ local_instant(last_day ~ ' + 1', "'00:00'", time_zone) }})
        when {{ answers }}.endpoint = 'bars' and {{ step_minutes }} = 10080
            then {{ by_request }}, {{ local_instant(monday(last_day ~ ' + 1') ~ ' + 7', "'00:00'", time_zone) }})
        when {{ step_minutes }} is not null
            then {{ by_request }}, {{ answers }}.last_row_at + {{ minutes(step_minutes) }})
        when {{ answers }}.endpoint = 'exchange_inflow'
            then {{ by_request }}, {{ answers }}.last_row_at + interval '24 hours')
        when {{ answers }}.endpoint = 'funding'
            then {{ by_request }}, {{ answers }}.last_row_at + interval '1 minute' + case
                when {{ answers }}.row_count > 1
                    then ({{ answers }}.last_row_at - {{ answers }}.first_row_at) / ({{ answers }}.row_count - 1)
                else interval '8 hours'
            end)
        else {{ by_request }})
    end
{%- endmacro %}

{# -- windows and aggregates ---------------------------------------------------------------------------------------- #}

{% macro spark__last_known(value, number, window) -%}
    (max(
        case when {{ value }} is not null then named_struct('number', {{ number }}, 'value', {{ value }}) end
    ) over {{ window }}).value
{%- endmacro %}

{% macro spark__joined(value, separator, order_by, distinct) -%}
    {#- Like string_agg: NULL, and not an empty text, where no value is. -#}
    nullif(array_join(
        transform(
            array_sort(collect_{{ 'set' if distinct else 'list' }}(
                case when {{ value }} is not null then struct({{ order_by }}, {{ value }} as joined) end
            )),
            one -> one.joined
        ),
        '{{ separator }}'
    ), '')
{%- endmacro %}

{% macro spark__joined_over(value, separator, window) -%}
    array_join(collect_list({{ value }}) over ({{ window }}), '{{ separator }}')
{%- endmacro %}

{# -- numbers and keys --------------------------------------------------------------------------------------------- #}

{% macro spark__double(expression) -%} cast({{ expression }} as double) {%- endmacro %}
{% macro spark__nearest_integer(double) -%} rint({{ double }}) {%- endmacro %}
{% macro spark__whole_quotient(number, divisor) -%} ({{ number }} div {{ divisor }}) {%- endmacro %}
{% macro spark__in_digits(expression, precision, digits) -%}
    cast({{ expression }} as decimal({{ precision }}, {{ digits }}))
{%- endmacro %}

{% macro spark__hash31(text) -%}
    cast(mod(cast(conv(substr(md5({{ text }}), 1, 8), 16, 10) as bigint), 2147483648) as int)
{%- endmacro %}

{% macro spark__hash63(text) -%} cast(conv(substr(md5({{ text }}), 1, 15), 16, 10) as bigint) {%- endmacro %}

{% macro spark__uuid_of_number(number) -%}
    regexp_replace(
        lower(lpad(hex({{ number }}), 32, '0')), '^(.{8})(.{4})(.{4})(.{4})(.{12})$', '$1-$2-$3-$4-$5'
    )
{%- endmacro %}

{% macro spark__names_where(conditions) -%}
    array_compact(array(
        {%- for name, condition in conditions.items() %}
        case when {{ condition }} then '{{ name }}' end{{ ',' if not loop.last }}
        {%- endfor %}
    ))
{%- endmacro %}

{% macro spark__items_of(text) -%}
    inline(transform(split({{ text }}, ' '), item -> struct(item as item)))
{%- endmacro %}

{% macro spark__part_of_pair(pair, number) -%} split_part({{ pair }}, ':', {{ number }}) {%- endmacro %}
