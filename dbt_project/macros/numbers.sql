{#- Decimals out of doubles, and Wilder's kernel: the two places where speed and reading fight. -#}

{# A double, rounded half away from zero to `digits` decimals; NULL where it does not fit the type (a return of 1000
   fold, say: the row checks name it). By way of a scaled integer: casting a double straight to numeric takes 1.7 us a
   value, this 0.4 us (measured, 22 columns); only doubles beyond the integer's range take the cast. #}
{% macro decimal(expression, digits, precision) -%}
    cast(
        case
            when abs({{ expression }}) < {{ double('9e' ~ ([18, precision - 1] | min - digits)) }}
                then cast(round({{ expression }} * {{ double('1e' ~ digits) }}) as bigint) * 0.{{ '0' * (digits - 1) }}1
            when abs({{ expression }}) < {{ double('1e' ~ (precision - digits)) }}
                then cast({{ expression }} as numeric)
        end as numeric({{ precision }}, {{ digits }})
    )
{%- endmacro %}

{# A true range as Wilder's kernel takes it. His recursion starts with the mean of the first 14, standing at the 14th (bar
   15): each counts there undecayed, so the decay that the kernel will put on it is taken off beforehand. #}
{% macro wilder_seed(true_range, bar_number) -%}
    {{ double(true_range) }} * case
        when {{ bar_number }} >= 15 then {{ double(1) }}
        {%- for number in range(14, 1, -1) %}
        when {{ bar_number }} = {{ number }} then {{ double('%.17g' % ((14.0 / 13.0) ** (15 - number))) }}
        {%- endfor %}
    end
{%- endmacro %}

{# One level of Wilder's kernel: the sum over `taps` earlier values, `stride` bars apart, each weighted by (13/14)^age.
   Levels multiply: taps 8 x 9 x 6 sum the last 432 bars with 20 lags instead of 431. Not more than 436: the weight of the
   first 14 ranges hangs on the bars before them, and no value may hang on a bar more than 450 back. The terms are added in one
   fixed order that depends on the bars alone, never on where a scan began: an incremental run gives the same bits as a
   full refresh. What 432 bars leave out of the endless recursion is (13/14)^432 = 1.3e-14 of it. #}
{% macro wilder_level(value, stride, taps, window) -%}
    {{ value }}
    {%- for tap in range(1, taps) %}
    + {{ double('%.17g' % ((13.0 / 14.0) ** (tap * stride))) }} * lag({{ value }}, {{ tap * stride }}, {{ double(0) }}) over {{ window }}
    {%- endfor %}
{%- endmacro %}

{# n SS - S^2 of the last n returns, counted in 1e-8. In 64-bit integers while they hold it (returns of up to 100 % in
   each bar), in decimals beyond: the way from a decimal to a double leads through text, 0.5 us. NULL where one of them may
   have left its range (a factor of 1e9 in one bar: int_price_features). #}
{% macro spread_of_returns(n) -%}
    case
        when return_squares_{{ n }} < {{ 9 * 10 ** 18 // n }}
            then {{ double(n ~ ' * cast(return_squares_' ~ n ~ ' as bigint) - returns_' ~ n ~ ' * returns_' ~ n) }}
        when return_squares_{{ n }} < {{ (21 * 10 ** 8) ** 2 }}
            then {{ double(n ~ ' * return_squares_' ~ n ~ ' - cast(returns_' ~ n ~ ' as numeric) * returns_' ~ n) }}
    end
{%- endmacro %}

{# How far another source's value is from the preferred one's, in basis points of the latter; NULL if that is 0 and the
   other is not. #}
{% macro difference_bp(value, other) -%}
    case
        when {{ value }} = {{ other }} then 0
        when {{ value }} <> 0 then round(10000 * ({{ other }} / {{ value }} - 1), 4)
    end
{%- endmacro %}
