{#- When a sample of the futures statistics (open interest, ratios) was taken. The one place that knows how Binance labels
    them; the dates are the vars `sample_labels_*`. -#}

{# The instant at which a sample was taken, of its label. Labels jitter: one that is up to a minute late is floored to its
   period, one that is a second early belongs to the next period (floored, it would be known before it was taken). Since the
   days that the vars name a label is the START of its period, and what it labels was taken at the end.
   In a file the file's day decides, not the label: the last label of the file of 2026-06-24 is the 25th 00:00 and means
   that moment, the first label of the next file is the same and means five minutes later. A sample without a period was
   taken at the very moment it names. #}
{% macro sample_taken_at(label, period_minutes, origin, file_day) -%}
    {%- set floored -%}
        {{ instant_from_epoch('(' ~ whole_quotient('(' ~ epoch_seconds("date_trunc('second', " ~ label ~ ")") ~ ' + 60 * ' ~ period_minutes ~ ' - 60)', '(60 * ' ~ period_minutes ~ ')') ~ ' * (60 * ' ~ period_minutes ~ '))') }}
    {%- endset -%}
    case
        when {{ period_minutes }} is null then {{ label }}
        when {{ origin }} = 'archive' and {{ file_day }} >= {{ instant(var("sample_labels_start_in_files") ~ ' 00:00:00+00') }}
            then {{ floored }} + {{ minutes(period_minutes) }}
        when {{ origin }} <> 'archive' and {{ floored }} >= {{ instant(var("sample_labels_start_in_rest") ~ ' 00:00:00+00') }}
            then {{ floored }} + {{ minutes(period_minutes) }}
        else {{ floored }}
    end
{%- endmacro %}

{# How many coins of the bars one contract is on, of the two names: 1000PEPEUSDT next to PEPEUSDT is on 1000. Where bars come
   from the contract itself (no spot name), or both names are of the same coin (1000SATS is a coin on both), it is 1. Names
   for which this is unknown are refused when the registry is loaded (extract/symbols/registry.py). #}
{% macro contract_multiplier(spot, futures) -%}
    {%- set multiples = {
        '1000': 1000, '10000': 10000, '100000': 100000, '1000000': 1000000, '10000000': 10000000, '1M': 1000000
    } -%}
    case
        {%- for prefix, coins in multiples.items() %}
        when {{ coin_of(futures) }} = '{{ prefix }}' || {{ coin_of(spot) }} then {{ coins }}
        when {{ coin_of(spot) }} = '{{ prefix }}' || {{ coin_of(futures) }} then 1.0 / {{ coins }}
        {%- endfor %}
        else 1
    end
{%- endmacro %}

{# The coin in Binance's name of a market: BTC in BTCUSDT. #}
{% macro coin_of(name) -%}
    case
        {%- for currency in ['FDUSD', 'USDT', 'USDC', 'BUSD', 'TUSD', 'USD', 'EUR', 'BTC', 'ETH', 'BNB'] %}
        when {{ name }} like '_%{{ currency }}' then substr({{ name }}, 1, length({{ name }}) - {{ currency | length }})
        {%- endfor %}
        else {{ name }}
    end
{%- endmacro %}

{# Condition: at a moment a settled rate is current: no more than two of its intervals have passed since it settled. Settlements
   that stop (a short page, a country that is refused) would otherwise be used for weeks. #}
{% macro is_current_rate(settlement, moment) -%}
    {{ settlement }}.settled_at + {{ minutes('120 * ' ~ settlement ~ '.interval_hours') }} >= {{ moment }}
{%- endmacro %}
