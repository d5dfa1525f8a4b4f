"""The selects behind the API, but for the bars themselves (bar_queries.py). Symbols and times are parameters."""

from __future__ import annotations

from typing import LiteralString

from extract.calendar.timeframes import STEPS

TIMEFRAMES = tuple(STEPS)

# What is known of each series right now, and a mark that changes with every model that worked.
FRESHNESS: LiteralString = """
select
    status.symbol,
    status.asset_class,
    status.data_age_seconds,
    status.is_stale,
    (
        select md5(string_agg(updates.model || updates.updated_at, ',' order by updates.model))
        from marts.model_updates as updates
    ) as version
from (
    select
        *,
        row_number() over (
            partition by symbol order by is_stale and is_enabled desc, data_age_seconds
        ) as place
    from marts.enrichment_status
    where symbol = any(%(symbols)s) and (%(timeframe)s::text is null or timeframe = %(timeframe)s)
        and (%(asset_class)s::text is null or asset_class = %(asset_class)s)
) as status
where status.place = 1
order by status.symbol
"""

# When the past of this warehouse begins.
HISTORY_BEGINS: LiteralString = "select min(dbt_valid_from) from snapshots.market_data_history"

# The newest bar of a series as it was known at a moment.
NEWEST_THEN: LiteralString = """
select timestamp, source
from marts.market_data_as_of(%(as_of)s)
where symbol = %(symbol)s and asset_class = %(asset_class)s and timeframe = %(timeframe)s
order by timestamp desc
limit 1
"""

SYMBOLS: LiteralString = """
with series as (
    select
        symbol, asset_class, timeframe, first_bar, newest_bar, bars, is_fetched, is_enabled, data_age_seconds, is_stale
    from marts.enrichment_status
),
symbols as (
    select
        symbol,
        asset_class,
        bool_or(is_enabled) as is_enabled,
        min(data_age_seconds) as data_age_seconds,
        coalesce(bool_or(is_stale), false) as is_stale,
        json_agg(
            json_build_object(
                'timeframe', timeframe, 'first_bar', first_bar, 'newest_bar', newest_bar, 'bars', bars,
                'is_fetched', is_fetched, 'data_age_seconds', data_age_seconds, 'is_stale', is_stale
            )
            order by array_position(%(timeframes)s, timeframe::text)
        ) as series
    from series
    group by symbol, asset_class
)
select cast(json_build_object(
    'data_age_seconds', (select min(data_age_seconds) from series where is_enabled),
    'is_stale', (select coalesce(bool_or(is_stale), false) from series where is_enabled),
    'known_since', (select min(dbt_valid_from) from snapshots.market_data_history),
    'symbols', (select coalesce(json_agg(symbols order by symbol, asset_class), '[]') from symbols)
) as text)
"""

KNOWN: LiteralString = """
select
    array_agg(distinct status.symbol::text),
    array_agg(distinct status.timeframe::text) filter (where status.symbol = %(symbol)s)
from marts.enrichment_status as status
"""

STATUS: LiteralString = """
select cast(json_build_object(
    'symbol', %(symbol)s::text,
    'data_age_seconds', min(data_age_seconds),
    'is_stale', bool_or(is_stale),
    'open_gaps', sum(open_gaps),
    'series', json_agg(series order by asset_class, array_position(%(timeframes)s, timeframe::text))
) as text)
from (
    select
        asset_class, timeframe, newest_bar, newest_bar_closed_at, next_bar_closes_at, data_age_seconds, late_seconds,
        is_stale, sla_level, source_in_use, bars, validated_bars, avg_quality_score, data_completeness, first_bar,
        open_gaps, is_enabled, is_fetched, last_run_at, last_run_id, last_success_at, last_error_at, last_error
    from marts.enrichment_status
    where symbol = %(symbol)s
) as series
having count(*) > 0
"""

METRICS: LiteralString = """
with series as (
    select * from marts.enrichment_status where is_enabled
),
newest_days as (
    select asset_class, max(metric_date) as newest_date from marts.data_quality_metrics group by asset_class
),
days as (
    select metrics.*
    from marts.data_quality_metrics as metrics
    inner join newest_days on newest_days.asset_class = metrics.asset_class
    where metrics.metric_date > newest_days.newest_date - 7
),
quality as (
    select
        asset_class,
        sum(total_records) as bars,
        round(sum(validated_records) * 100.0 / nullif(sum(total_records), 0), 2) as validation_pass_rate,
        round(sum(avg_quality_score * total_records) / nullif(sum(total_records), 0), 4) as avg_quality_score,
        round(sum(data_completeness * total_records) / nullif(sum(total_records), 0), 4) as data_completeness,
        sum(gaps_detected) as gaps_detected,
        sum(anomalies_detected) as anomalies_flagged
    from days
    group by asset_class
),
freshness as (
    select
        asset_class,
        count(*) as series,
        count(*) filter (where is_stale) as stale_series,
        sum(open_gaps) as open_gaps,
        min(data_age_seconds) as data_age_seconds
    from series
    group by asset_class
),
computed as (
    select
        max(computation_timestamp) as computed_at,
        sum(rows_computed) as rows_computed,
        sum(computation_time_ms) as feature_computation_time_ms,
        round(sum(rows_computed) * 1000.0 / nullif(sum(computation_time_ms), 0)) as rows_per_second,
        count(*) filter (where not success) as failed_series
    from marts.enrichment_compute_log
    where computation_timestamp = (select max(computation_timestamp) from marts.enrichment_compute_log)
)
select cast(json_build_object(
    'data_age_seconds', (select min(data_age_seconds) from series),
    'is_stale', (select coalesce(bool_or(is_stale), false) from series),
    'sources', (
        select coalesce(json_agg(health order by health.source), '[]')
        from (
            select
                source, breaker_state, breaker_state_since, blocked_until, last_success_at, last_error_at, requests,
                failed_requests, error_rate, p50_response_ms, p95_response_ms, quota_remaining
            from marts.source_health
        ) as health
    ),
    'asset_classes', (
        select coalesce(json_agg(classes order by classes.asset_class), '[]')
        from (
            select
                freshness.*, quality.bars, quality.validation_pass_rate, quality.avg_quality_score,
                quality.data_completeness, quality.gaps_detected, quality.anomalies_flagged
            from freshness
            left join quality on quality.asset_class = freshness.asset_class
        ) as classes
    ),
    'computation', (select row_to_json(computed) from computed),
    'runs', (
        select coalesce(json_agg(newest order by newest.started_at desc), '[]')
        from (
            select run_id, started_by, started_at, ended_at, status, exit_code, failed_step
            from marts.pipeline_runs
            order by started_at desc
            limit 10
        ) as newest
    ),
    'alerts_firing', (select count(*) from marts.alerts where resolved_at is null)
) as text)
"""

QUALITY: LiteralString = """
with days as (
    select *
    from marts.data_quality_metrics
    where
        symbol = %(symbol)s
        and metric_date >= %(start)s::date
        and metric_date <= %(end)s::date
    order by metric_date desc
    limit %(limit)s
),
ordered as (
    select * from days order by metric_date
),
totals as (
    select
        count(*) as days,
        min(metric_date) as first_date,
        max(metric_date) as last_date,
        coalesce(sum(total_records), 0) as total_records,
        coalesce(sum(validated_records), 0) as validated_records,
        round(sum(validated_records) * 100.0 / nullif(sum(total_records), 0), 2) as validation_rate,
        round(sum(avg_quality_score * total_records) / nullif(sum(total_records), 0), 4) as avg_quality_score,
        round(sum(data_completeness * total_records) / nullif(sum(total_records), 0), 4) as data_completeness,
        coalesce(sum(gaps_detected), 0) as gaps_detected,
        coalesce(sum(anomalies_detected), 0) as anomalies_detected
    from days
)
select
    cast((select row_to_json(totals) from totals) as text) as summary,
    cast((
        select coalesce(json_agg(gaps order by gaps.gap_from), '[]')
        from (
            select timeframe, gap_from, gap_to, missing_bars, verdict, place, evidence
            from marts.bar_gaps
            where symbol = %(symbol)s and repair_state = 'open'
            order by gap_from desc
            limit 100
        ) as gaps
    ) as text) as open_gaps,
    (select count(*) from marts.rejected_bars where symbol = %(symbol)s) as rejected_bars,
    cast(json_build_object(
        'metric_date', coalesce(json_agg(metric_date), '[]'),
        'asset_class', coalesce(json_agg(asset_class), '[]'),
        'total_records', coalesce(json_agg(total_records), '[]'),
        'validated_records', coalesce(json_agg(validated_records), '[]'),
        'validation_rate', coalesce(json_agg(trim_scale(validation_rate)), '[]'),
        'gaps_detected', coalesce(json_agg(gaps_detected), '[]'),
        'anomalies_detected', coalesce(json_agg(anomalies_detected), '[]'),
        'avg_quality_score', coalesce(json_agg(trim_scale(avg_quality_score)), '[]'),
        'data_completeness', coalesce(json_agg(trim_scale(data_completeness)), '[]')
    ) as text) as columns
from ordered
"""
