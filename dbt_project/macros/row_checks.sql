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

{# What a bar's quality_score is counted from, as columns of a select from the bar's row `bars`, its class's `sla`, and the
   rows that hold when it was seen and whether samples are expected. #}
{% macro score_terms(seen, expected) -%}
    -- Fields: OHLCV for all; taker volumes where the source tells them; funding and open interest once they began.
    5
    + case when bars.taker_buy_volume is not null then 2 else 0 end
    + case when bars.funding_rate is not null then 1 else 0 end
    + case when {{ expected }}.is_open_interest_expected then 1 else 0 end as fields_expected,
    num_nonnulls(
        bars.open, bars.high, bars.low, bars.close, bars.volume, bars.taker_buy_volume, bars.taker_sell_volume,
        bars.funding_rate, bars.open_interest
    ) as fields_present,
    num_nonnulls(bars.{{ lacking_features('bars') | join(', bars.') }}) as features_present,
    -- A feature that is not defined yet or here is not expected; one whose samples have begun and stopped is.
    case when {{ expected }}.is_open_interest_expected and bars.open_interest is null then 1 else 0 end
    + case when {{ expected }}.is_long_short_ratio_expected and bars.long_short_ratio is null then 1 else 0 end as features_missing,
    -- Only a bar that closed while the series was already being loaded can be late.
    case
        when {{ seen }}.closed_at <= bars.first_fetched_at then 1
        else
            greatest(0, least(
                1,
                (sla.stale_seconds - {{ double('extract(epoch from ' ~ seen ~ '.first_seen_at - ' ~ seen ~ '.closed_at)') }})
                / (sla.stale_seconds - sla.target_seconds)
            ))
    end as freshness
{%- endmacro %}
