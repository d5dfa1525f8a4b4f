{%- set values = [
    'total_records', 'validated_records', 'validation_rate', 'gaps_detected', 'anomalies_detected', 'avg_quality_score',
    'data_completeness'
] -%}
{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_strategy='merge',
        on_schema_change='fail',
        indexes=[
            {'columns': ['symbol', 'asset_class', 'metric_date'], 'unique': true},
            {'columns': ['metric_date']},
        ],
        pre_hook=['{{ delete_rows_of_former_version() }}'],
        post_hook=[
            'delete from {{ this }} where total_records = 0',
            "{{ advance_watermark([ref('series_quality_by_day')]) }}",
        ]
    )
}}
-- One row per symbol and session date: how many bars of all timeframes, and how good they are. Only days of which a bar
-- changed are counted again. The rules name the series that left the registry, too.
with

changed_days as (
    select distinct series.symbol, series.asset_class, days.session_date
    from {{ ref('series_quality_by_day') }} as days
    inner join {{ ref('int_series_fingerprints') }} as series on series.series_id = days.series_id
    where days.changed_in_batch > {{ watermark('data_quality_metrics') }}
),

-- Put together before it is counted: stock Postgres 15 otherwise compared each day of each series with all series.
days_of_symbols as (
    select
        series.symbol,
        series.asset_class,
        days.session_date,
        days.bars,
        days.validated_bars,
        days.gaps,
        days.anomalies,
        days.quality_score_sum,
        days.completeness_sum
    from {{ ref('series_quality_by_day') }} as days
    inner join {{ ref('int_series_fingerprints') }} as series on series.series_id = days.series_id
    where days.session_date in (select changed_days.session_date from changed_days)
    {{ optimization_fence() }}
),

counted as (
    select
        days.symbol,
        days.asset_class,
        days.session_date as metric_date,
        sum(days.bars) as bars,
        sum(days.validated_bars) as validated_bars,
        sum(days.gaps) as gaps,
        sum(days.anomalies) as anomalies,
        sum(days.quality_score_sum) as quality_score_sum,
        sum(days.completeness_sum) as completeness_sum
    from changed_days
    inner join days_of_symbols as days
        on
            days.symbol = changed_days.symbol
            and days.asset_class = changed_days.asset_class
            and days.session_date = changed_days.session_date
    group by days.symbol, days.asset_class, days.session_date
),

typed as (
    select
        {{ hash63("symbol || '|' || asset_class || '|' || metric_date") }} as id,
        symbol,
        asset_class,
        metric_date,
        cast(bars as integer) as total_records,
        cast(validated_bars as integer) as validated_records,
        cast(round(100.0 * validated_bars / nullif(bars, 0), 2) as numeric(5, 2)) as validation_rate,
        cast(gaps as integer) as gaps_detected,
        cast(anomalies as integer) as anomalies_detected,
        cast(round(quality_score_sum / nullif(bars, 0), 2) as numeric(3, 2)) as avg_quality_score,
        cast(round(completeness_sum / nullif(bars, 0), 2) as numeric(3, 2)) as data_completeness,
        {{ warehouse_now() }} as created_at
    from counted
)

select typed.*
from typed
{% if is_incremental() -%}
{{ left_join_existing('typed', ['symbol', 'asset_class', 'metric_date']) }}
where {{ differs('typed', 'existing', 'id', values) }} and (typed.total_records > 0 or existing.id is not null)
{%- endif %}
