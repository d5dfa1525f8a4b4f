{#- What other models and readers look for rows by. -#}
{%- set sought_by = [
    'id', 'symbol', 'asset_class', 'timeframe', 'timestamp', 'session_date', 'source', 'is_validated', 'validation_notes',
    'gap_detected', 'volume_anomaly', 'quality_score', 'data_completeness', 'revision', 'updated_at'
] -%}
{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_strategy='merge',
        on_schema_change='fail',
        meta={'computed_in_shards': 'always'},
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['symbol', 'asset_class', 'timeframe', 'timestamp'], 'unique': true},
            {'columns': ['timestamp']},
            {'columns': ['updated_at']},
        ],
        pre_hook=[
            "{{ require_full_input(ref('int_recompute_ranges')) }}",
            '{{ catch_up_history() }}',
            '{{ record_rebuild() }}',
            '{{ add_new_columns() }}',
        ],
        post_hook=[
            '{{ finish_shards() }}',
            '{{ delete_inactive_bars() }}',
            '{{ record_processed_quarantines() }}',
            "{{ advance_watermark([ref('int_recompute_ranges')], stamp=written_at()) }}",
            '{{ delete_computations() }}',
            "{{ analyze_new_table(" ~ sought_by ~ ") }}",
        ]
    )
}}
-- depends_on: {{ ref('int_recompute_ranges') }}
-- depends_on: {{ ref('int_bars_to_compute') }}
-- depends_on: {{ ref('int_futures_as_of') }}
-- depends_on: {{ ref('int_liquidations_by_bar') }}
-- depends_on: {{ ref('int_price_features') }}
-- depends_on: {{ ref('int_bars') }}
-- depends_on: {{ ref('int_bars_selected') }}
-- depends_on: {{ ref('int_bars_resampled') }}
-- depends_on: {{ ref('feature_registry') }}
-- One row per bar, with its raw fields, the features, its verdict and where it came from. This model gives values
-- their stored types, scores them and writes the rows that differ; the formulas are in int_price_features and
-- int_features.
with

bars as (
    select * from {{ ref('int_features') }}
),

scored as (
    select
        bars.*,
        {{ row_checks_failed() }} as row_checks_failed,
        coalesce(abs(bars.volume_spike_score) > 5, false) as volume_anomaly,
        0
        {%- for sample in samples_of_bars() %}
        + case when bars.is_{{ sample }}_expected then 1 else 0 end
        {%- endfor %} as samples_expected,
        0
        {%- for sample, reported in samples_of_bars().items() %}
        + case when bars.is_{{ sample }}_expected and bars.{{ reported.column }} is not null then 1 else 0 end
        {%- endfor %} as samples_present,
        {{ score_terms('bars') }}
    from bars
    inner join {{ ref('freshness_sla') }} as sla on sla.asset_class = bars.asset_class
    {{ optimization_fence() }}
),

classified as (
    select
        *,
        -- Of the bar itself, and with the samples that it should show.
        cast(round({{ double('100') }} * parts_share * fields_present / fields_expected) as integer) * 0.01 as own_completeness,
        cast(round(
            {{ double('100') }} * parts_share * (fields_present + samples_present) / (fields_expected + samples_expected)
        ) as integer) * 0.01 as completeness,
        -- The score is fields 40 %, checks 30 %, features 20 %, freshness 10 %.
        cast(round(
            {{ double('40') }} * parts_share * fields_present / fields_expected
            + {{ double('30') }} * (
                case
                    when failed_checks is null then {{ bar_checks() | length + row_checks() | length }}
                    else {{ row_checks() | length }}
                end - row_checks_failed
            ) / {{ bar_checks() | length + row_checks() | length }}
            + {{ double('20') }} * (
                case when is_valid then greatest(features_present - row_checks_failed, 0) else 0 end
            ) / greatest(features_present, 1)
            + {{ double('10') }} * freshness
        ) as integer) * 0.01 as score
    from scored
    {{ optimization_fence() }}
),

typed as (
    select
        cast(series_id as bigint) * 4294967296 + {{ epoch_seconds('opened_at') }} as id,
        symbol,
        asset_class,
        timeframe,
        opened_at as timestamp,
        open,
        high,
        low,
        close,
        volume,
        cast(open_interest as numeric(28, 8)) as open_interest,
        cast(funding_rate as numeric(11, 8)) as funding_rate,
        cast(liquidations_long as numeric(28, 8)) as liquidations_long,
        cast(liquidations_short as numeric(28, 8)) as liquidations_short,
        cast(case when asset_class = 'crypto' then taker_buy_volume end as numeric(28, 8)) as taker_buy_volume,
        {{ fits('taker_sell_volume', 28, 8) }} as taker_sell_volume,
        {{ stored_features() }},
        source,
        failed_checks is null
        and row_checks_failed = 0
        and score >= {{ var('min_quality_score') }}
        and own_completeness >= {{ var('min_data_completeness') }} as is_validated,
        cast(score as numeric(3, 2)) as quality_score,
        case
            -- Most bars have nothing to note, and are spared the concatenation.
            when
                failed_checks is null
                and row_checks_failed = 0
                and volume > 0
                and base_timeframe is null
                and fields_against_consensus is null
                and own_completeness >= {{ var('min_data_completeness') }}
                and samples_present = samples_expected
                then null
            else nullif(concat_ws(
                '; ',
                failed_checks,
                {%- for name, condition in row_checks().items() %}
                case when {{ condition }} then '{{ name }}' end,
                {%- endfor %}
                case when volume = 0 then 'no volume' end,
                case when volume is null and failed_checks is null then 'volume not told in coins' end,
                case
                    when own_completeness < {{ var('min_data_completeness') }} and failed_checks is null then 'fields missing'
                end,
                {% for sample, reported in samples_of_bars().items() -%}
                case when is_{{ sample }}_expected and {{ reported.column }} is null then '{{ reported.name }} missing' end,
                {% endfor -%}
                'outvoted by other sources: ' || fields_against_consensus,
                'resampled from ' || base_timeframe
            ), '')
        end as validation_notes,
        gap_detected,
        volume_anomaly,
        cast(completeness as numeric(3, 2)) as data_completeness,
        fetched_at,
        {{ written_at() }} as computed_at,
        {{ written_at() }} as updated_at,
        revision,
        cast(case when revision > 1 then revision - 1 end as bigint) as amended_from,
        cast(split_factor as numeric(38, 24)) as split_factor,
        session_date
    from classified
)

{% if is_incremental() -%}
select typed.*
from typed
{{ left_join_existing('typed', ['id']) }}
where {{ differs('typed', 'existing', 'id', compared_columns()) }}
{%- else -%}
select * from typed
{%- endif %}
