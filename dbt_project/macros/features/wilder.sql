{#-
  Wilder's mean of 14 values (ATR, RSI and their kin): m = (13 m + v) / 14 from the mean of the first 14 on. As a recursion it
  is a loop over all bars of a series, which SQL has not, and an increment could not begin in the midst of it. As a sum it is
  v weighted by (13/14)^age, divided by 14. A model takes it in four steps, each a CTE, since a window cannot look into
  another of the same select:

      as_wilder_takes_it(value, bar_number)                                          the first 14 weighted for the start
      wilder_sum(8, ...), wilder_sum(72, ...), wilder_sum(432, ...)    the weighted sums of the last 8, 72 and 432 bars
      wilder_mean(sum of 432)                                                                    defined from bar 15 on
-#}

{# A value of each bar but the first, as the sums take it. Wilder starts with the mean of the first 14, standing at the 14th
   (bar 15): each counts there undecayed, so the decay that the sums will put on it is taken off beforehand. #}
{% macro as_wilder_takes_it(value, bar_number) -%}
    coalesce({{ double(value) }} * case
        when {{ bar_number }} >= 15 then {{ double(1) }}
        {%- for number in range(14, 1, -1) %}
        when {{ bar_number }} = {{ number }} then {{ double('%.17g' % ((14.0 / 13.0) ** (15 - number))) }}
        {%- endfor %}
    end, 0)
{%- endmacro %}

{# The weighted sum of the last 8 bars out of their values, of 72 out of the sums of 8, of 432 out of the sums of 72: 20
   looks back a bar where one sum over all took 431. Not more than 436 bars: the weight of the first 14 values depends on the
   bars before them, and no value may depend on a bar more than 450 back. The terms are added in one fixed order that depends
   on the bars alone, never on where a scan began: an incremental run gives the same bits as a full refresh. What 432 bars
   leave out of the endless recursion is (13/14)^432 = 1.3e-14 of it. #}
{% macro wilder_sum(bars, of, window) -%}
    {%- set bars_of_a_term = {8: 1, 72: 8, 432: 72}[bars] -%}
    {{ of }}
    {%- for age in range(bars_of_a_term, bars, bars_of_a_term) %}
    + {{ double('%.17g' % ((13.0 / 14.0) ** age)) }} * lag({{ of }}, {{ age }}, {{ double(0) }}) over {{ window }}
    {%- endfor %}
{%- endmacro %}

{# Wilder's mean out of the weighted sum of 432 bars. #}
{% macro wilder_mean(sum_of_432) -%}
    {{ sum_of_432 }} / 14
{%- endmacro %}
