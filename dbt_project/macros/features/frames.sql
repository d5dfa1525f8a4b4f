{#- Windows of n bars by name, so that no offset is ever repeated. -#}

{# Sum over the n latest bars, the current one included, out of a running sum over all: exact where the running sum is,
   which decimals and integers are. #}
{% macro sum_of_last(n, running_sum, window) -%}
    {{ running_sum }} - (lag({{ running_sum }}, {{ n }}, 0) over {{ window }})
{%- endmacro %}

{# The same over the n bars before the current one. #}
{% macro sum_of_previous(n, running_sum, window) -%}
    (lag({{ running_sum }}, 1, 0) over {{ window }}) - (lag({{ running_sum }}, {{ n + 1 }}, 0) over {{ window }})
{%- endmacro %}

{# The greatest or least of the 5 latest bars. Larger windows are put together from these: a moving max() looks at its
   whole frame again for every row, which took a fifth of the time of all price features. #}
{% macro extreme_of_5(function, value, window) -%}
    {{ function }}(
        {{ value }}
        {%- for bars in range(1, 5) %},
        lag({{ value }}, {{ bars }}) over {{ window }}
        {%- endfor %}
    )
{%- endmacro %}

{# The log return in 1e-8, the scale in which it is stored: sums of returns and of their squares are then exact integers,
   wherever a run began to read. It stops counting at +-21, a factor of 1e9 in one bar: beyond it the count would leave 32
   bits, and market_data_v2 has NULL. #}
{% macro log_return_in_e8(price, price_before) -%}
    case
        when {{ price_before }} is not null
            then cast(
                {{ nearest_integer('greatest(least(ln(' ~ price ~ ' / ' ~ price_before ~ '), 21), -21) * ' ~ double('1e8')) }} as integer
            )
    end
{%- endmacro %}

{# The sample standard deviation of the last n log returns: sqrt((n SS - S^2) / (n (n - 1))), with S and SS the exact sums of
   the returns and of their squares, counted in 1e-8. In 64-bit integers while they hold it (returns of up to 100 % in each
   bar), in decimals beyond: the way from a decimal to a double leads through text, 0.5 us. NULL where one of the returns may
   have left its range (log_return_in_e8). #}
{% macro deviation_of_returns(n) -%}
    sqrt(case
        when return_squares_{{ n }} < {{ 9 * 10 ** 18 // n }}
            then {{ double(n ~ ' * cast(return_squares_' ~ n ~ ' as bigint) - returns_' ~ n ~ ' * returns_' ~ n) }}
        when return_squares_{{ n }} < {{ (21 * 10 ** 8) ** 2 }}
            then {{ double(n ~ ' * return_squares_' ~ n ~ ' - cast(returns_' ~ n ~ ' as numeric(20, 0)) * returns_' ~ n) }}
    end / {{ n * (n - 1) }}) / {{ double('1e8') }}
{%- endmacro %}

{# How many sample standard deviations a value lies from the mean of the n before it: (V - S / n) / sqrt((n SS - S^2) /
   (n (n - 1))), with S and SS their exact sum and sum of squares. NULL where all are equal. #}
{% macro deviations_from_previous(n, value, sum, sum_of_squares) -%}
    {{ double(n ~ ' * ' ~ value ~ ' - ' ~ sum) }}
    / {{ n }}
    / nullif(sqrt({{ double(n ~ ' * ' ~ sum_of_squares ~ ' - ' ~ sum ~ ' * ' ~ sum) }} / {{ n * (n - 1) }}), 0)
{%- endmacro %}
