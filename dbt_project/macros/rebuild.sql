{#-
  A formula was corrected: `make rebuild SELECT="atr"` (dbt build --vars '{rebuild: atr}') computes every bar again and
  writes the rows that differ, what sources said meanwhile included; data_corrections shows each changed value of a named
  feature as a bug_fix. Without it an increment would give new bars the new formula and leave the old ones the old one.
-#}

{# The 22 features, in the mart's order. #}
{% macro all_features() -%}
    {{ return([
        'return_1h', 'return_1d', 'volatility_20', 'volatility_50', 'atr', 'trend_direction', 'market_structure',
        'rolling_volume_20', 'delta', 'buy_sell_ratio', 'liquidation_intensity', 'volume_spike_score',
        'long_short_ratio', 'funding_rate_percentile', 'exchange_inflow', 'open_interest_change', 'log_return',
        'true_range', 'hlc3', 'sma_20', 'sma_50', 'vwap_20'
    ]) }}
{%- endmacro %}

{# The features that this run rebuilds; empty on an ordinary run. #}
{% macro rebuilt_features() -%}
    {%- set features = var('rebuild').replace(',', ' ').split() -%}
    {%- for feature in features if feature not in all_features() -%}
        {{ exceptions.raise_compiler_error("rebuild: " ~ feature ~ " is not a feature; the 22 are " ~ all_features() | join(', ')) }}
    {%- endfor -%}
    {{ return(features) }}
{%- endmacro %}
