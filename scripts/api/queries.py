"""The selects behind the API. Symbols and times are parameters; names come from the catalogue of the warehouse alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, LiteralString

from psycopg import sql

Direction = Literal["after", "before"]

TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d", "1w")


@dataclass(frozen=True)
class Column:
    """A column of market_data_v2; data_type as Postgres spells it."""

    name: str
    data_type: str

    @property
    def is_number(self) -> bool:
        """Whether it holds exact decimals."""
        return self.data_type.startswith("numeric")


# In the table's order; what every bar of an answer has in common stands beside the columns.
COLUMNS: LiteralString = """
select
    array_agg(attname::text order by attnum),
    array_agg(format_type(atttypid, atttypmod) order by attnum)
from pg_attribute
where
    attrelid = 'marts.market_data_v2'::regclass
    and attnum > 0
    and not attisdropped
    and attname not in ('symbol', 'asset_class', 'timeframe')
"""

# What is known of a series right now, and a mark that changes with every model that worked.
FRESHNESS: LiteralString = """
select
    status.asset_class,
    status.data_age_seconds,
    status.is_stale,
    (
        select md5(string_agg(updates.model || updates.updated_at, ',' order by updates.model))
        from marts.model_updates as updates
    ) as version
from marts.enrichment_status as status
where status.symbol = %(symbol)s and (%(timeframe)s::text is null or status.timeframe = %(timeframe)s)
order by status.is_stale and status.is_enabled desc, status.data_age_seconds
limit 1
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


@lru_cache(maxsize=256)
def bars(
    columns: tuple[Column, ...], direction: Direction, has_start: bool, has_end: bool, has_cursor: bool, is_as_of: bool,
    has_limit: bool,
) -> sql.Composed:  # fmt: skip
    """The bars of one series in order of time: the first ones after the start, or the last ones before the end."""
    conditions = [sql.SQL("symbol = %(symbol)s and asset_class = %(asset_class)s and timeframe = %(timeframe)s")]
    if has_start:
        conditions.append(sql.SQL("timestamp >= %(start)s"))
    if has_end:
        conditions.append(sql.SQL("timestamp < %(end)s"))
    if has_cursor:
        conditions.append(sql.SQL("timestamp > %(cursor)s" if direction == "after" else "timestamp < %(cursor)s"))
    return sql.SQL("select {columns} from {relation} where {conditions} order by timestamp {order} {limit}").format(
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        relation=sql.SQL("marts.market_data_as_of(%(as_of)s)" if is_as_of else "marts.market_data_v2"),
        conditions=sql.SQL(" and ").join(conditions),
        order=sql.SQL("asc" if direction == "after" else "desc"),
        limit=sql.SQL("limit %(limit)s" if has_limit else ""),
    )


@lru_cache(maxsize=256)
def page(
    columns: tuple[Column, ...], direction: Direction, has_start: bool, has_end: bool, has_cursor: bool, is_as_of: bool
) -> sql.Composed:
    """One page, column-wise: count, whether there are more, first and last timestamp, then each column as JSON.

    Aggregates take the rows in the subquery's order. Trailing zeros are not sent: numbers stay exact all the same. They
    are put together as text: json_agg takes half as long again.
    """
    arrays = [
        sql.SQL(
            "'[' || coalesce(string_agg(coalesce(cast(trim_scale({}) as text), 'null'), ','), '') || ']'"
            if column.is_number
            else "cast(coalesce(json_agg({}), '[]') as text)"
        ).format(sql.Identifier(column.name))
        for column in columns
    ]
    # One more than asked for tells whether there is a next page.
    found = bars(columns, direction, has_start, has_end, has_cursor, is_as_of, False)
    return sql.SQL(
        "with found as ({found} limit %(limit)s + 1),"
        " numbered as (select *, row_number() over (order by timestamp {order}) as place from found),"
        " kept as (select * from numbered where place <= %(limit)s order by timestamp)"
        " select count(*), (select count(*) from found) > %(limit)s, min(timestamp), max(timestamp), {arrays} from kept"
    ).format(found=found, order=sql.SQL("asc" if direction == "after" else "desc"), arrays=sql.SQL(", ").join(arrays))


@lru_cache(maxsize=256)
def copy(
    columns: tuple[Column, ...], direction: Direction, has_start: bool, has_end: bool, has_cursor: bool, is_as_of: bool,
    has_limit: bool, header: bool,
) -> sql.Composed:  # fmt: skip
    """The same bars as a COPY of CSV, in order of time."""
    found = bars(columns, direction, has_start, has_end, has_cursor, is_as_of, has_limit)
    if direction == "before":
        found = sql.SQL("select * from ({}) as newest order by timestamp").format(found)
    return sql.SQL("copy ({}) to stdout (format csv, header {})").format(found, sql.SQL("true" if header else "false"))


def cursor_of(direction: Direction, first: datetime, last: datetime) -> str:
    """Where the next page begins: after the last bar of this one, or before its first."""
    return f"{direction}-{int((last if direction == 'after' else first).timestamp())}"
