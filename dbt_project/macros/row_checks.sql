{#- The checks of an enriched row beyond those of its bar (the plan's 6.2, corrected by FEATURES.md): name -> the
    condition that fails it. A NULL passes: what is missing counts in the completeness, not here. -#}
{% macro row_checks() -%}
    {{ return({
        'open interest negative': 'open_interest < 0',
        'funding rate outside -1..1': 'abs(funding_rate) > 1',
        'liquidations negative': 'liquidations_long < 0 or liquidations_short < 0',
        'return outside -500%..500%': 'abs(return_1h) > 5 or abs(return_1d) > 5 or abs(log_return) > 5',
        'volatility negative': 'volatility_20 < 0 or volatility_50 < 0',
        'range negative': 'true_range < 0 or atr < 0',
        'ratio outside 0..1': 'buy_sell_ratio < 0 or buy_sell_ratio > 1 or long_short_ratio < 0 or long_short_ratio > 1',
        'funding percentile outside 0..100': 'funding_rate_percentile < 0 or funding_rate_percentile > 100',
    }) }}
{%- endmacro %}

{# How many of them a row fails. #}
{% macro row_checks_failed() -%}
    {%- for condition in row_checks().values() %}
    case when {{ condition }} then 1 else 0 end{{ ' +' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
