{#-
  A formula was corrected: `make rebuild SELECT="atr"` (dbt build --vars '{rebuild: atr}') computes every bar again, writes
  the rows in which a named feature differs, and records each changed value in data_corrections as a bug_fix. Without it
  an increment would give new bars the new formula and leave the old ones the old one.
-#}

{# The features that this run rebuilds; empty on an ordinary run. #}
{% macro rebuilt_features() -%}
    {%- set features = var('rebuild', '').replace(',', ' ').split() -%}
    {%- set known = [
        'return_1h', 'return_1d', 'volatility_20', 'volatility_50', 'atr', 'trend_direction', 'market_structure',
        'rolling_volume_20', 'delta', 'buy_sell_ratio', 'liquidation_intensity', 'volume_spike_score',
        'long_short_ratio', 'funding_rate_percentile', 'exchange_inflow', 'open_interest_change', 'log_return',
        'true_range', 'hlc3', 'sma_20', 'sma_50', 'vwap_20'
    ] -%}
    {%- for feature in features if feature not in known -%}
        {{ exceptions.raise_compiler_error("rebuild: " ~ feature ~ " is not a feature; the 22 are " ~ known | join(', ')) }}
    {%- endfor -%}
    {{ return(features) }}
{%- endmacro %}

{# Pre-hook of the mart: keeps the features as they are, to tell what the rebuild changed. #}
{% macro remember_features() %}
    {%- if rebuilt_features() and is_incremental() %}
    create temporary table features_before on commit drop as
    select id, {{ rebuilt_features() | join(', ') }}
    from {{ this }}
    {%- endif %}
{% endmacro %}

{# Post-hook of the mart: one correction per changed value of a rebuilt feature. #}
{% macro record_bug_fixes() %}
    {%- if rebuilt_features() and is_incremental() %}
    insert into {{ ref('data_corrections') }} (
        id, original_record_id, field_corrected, old_value, new_value, reason, corrected_by, correction_timestamp, revision
    )
    {%- for feature in rebuilt_features() %}
    {%- set is_text = feature in ['trend_direction', 'market_structure'] %}
    select
        {{ hash63("mart.id || '|" ~ feature ~ "|" ~ invocation_id ~ "'") }},
        mart.id,
        '{{ feature }}',
        {{ 'cast(null as numeric)' if is_text else 'features_before.' ~ feature }},
        {{ 'cast(null as numeric)' if is_text else 'mart.' ~ feature }},
        'bug_fix{{ ": ' || coalesce(features_before." ~ feature ~ ", 'NULL') || ' -> ' || coalesce(mart." ~ feature ~ ", 'NULL') || '" if is_text }}',
        'rebuild',
        current_timestamp,
        mart.revision
    from {{ this }} as mart
    inner join features_before on features_before.id = mart.id
    where mart.{{ feature }} is distinct from features_before.{{ feature }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
    {%- endif %}
{% endmacro %}
