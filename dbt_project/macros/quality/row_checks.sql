{#- The checks of an enriched row beyond those of its bar (ranges of samples and features): name -> the
    condition that fails it. A NULL passes: what is missing counts in the completeness, not here. -#}
{% macro row_checks() -%}
    {%- set checks = {
        'open interest negative': 'open_interest < 0',
        'funding rate outside -1..1': 'abs(funding_rate) > 1',
        'liquidations negative': 'liquidations_long < 0 or liquidations_short < 0',
    } -%}
    {#- Then what the list of features says of each. -#}
    {%- for feature in features().values() if feature.check is defined -%}
        {%- set failing = outside_range(feature.name, feature.plausible or feature.possible) -%}
        {%- do checks.update({feature.check: [checks[feature.check], failing] | select | join(' or ')}) -%}
    {%- endfor -%}
    {{ return(checks) }}
{%- endmacro %}

{# How many of them a row fails. #}
{% macro row_checks_failed() -%}
    {%- for condition in row_checks().values() %}
    case when {{ condition }} then 1 else 0 end{{ ' +' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The samples that a bar shows, by column of market_data_v2: how a note calls each, and its column in
   int_features. Each is expected from its first one on, for as long as it is missing. #}
{% macro samples_of_bars() -%}
    {{ return({
        'open_interest': {'name': 'open interest', 'column': 'open_interest'},
        'funding_rate': {'name': 'funding rate', 'column': 'funding_rate'},
        'long_short_ratio': {'name': 'long/short ratio', 'column': 'long_short_ratio_as_of'},
    }) }}
{%- endmacro %}

{# What a bar's quality_score is counted from, as columns of a select from the bar's row `bars`, its class's `sla`, and the
   row that holds when it was seen and how many of its parts are there. Of the bar itself: what depends on samples counts
   in data_completeness only. #}
{% macro score_terms(seen) -%}
    -- Fields: OHLC for all, volume unless its source reports none in this unit, taker volumes where the source reports them.
    4
    + case when {{ has_no_volume('bars.') }} then 0 else 1 end
    + case
        when bars.asset_class = 'crypto' and ({{ is_source('bars.source', sources('reports_taker_volumes')) }} or bars.taker_buy_volume is not null) then 2
        else 0
    end as fields_expected,
    {{ count_present(['bars.open', 'bars.high', 'bars.low', 'bars.close']) }}
    + case when {{ has_no_volume('bars.') }} then 0 else {{ count_present(['bars.volume']) }} end
    + case when bars.asset_class = 'crypto' then {{ count_present(['bars.taker_buy_volume', 'bars.taker_sell_volume']) }} else 0 end
        as fields_present,
    -- Of a bar that was resampled: how many of the bars that it should be made of.
    coalesce({{ double(seen ~ '.bars_present') }} / nullif({{ seen }}.bars_expected, 0), 1) as parts_share,
    {% set features_of_bars = [] -%}
    {%- for feature in features() %}{% do features_of_bars.append('bars.' ~ feature) %}{% endfor -%}
    {{ count_present(features_of_bars) }} as features_present,
    -- Only a bar that closed while the series was already being loaded can be late.
    case
        when {{ seen }}.closed_at <= bars.first_fetched_at then 1
        else
            greatest(0, least(
                1,
                (sla.stale_seconds - {{ double(seconds_between(seen ~ '.first_seen_at', seen ~ '.closed_at')) }})
                / (sla.stale_seconds - sla.target_seconds)
            ))
    end as freshness
{%- endmacro %}
