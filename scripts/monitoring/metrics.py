"""The state of the warehouse as OpenMetrics: a text file after each run, and the same behind /metrics.

Data flow: marts -> a few selects -> prometheus_client -> text. What ages is exported as the instant it happened, never as an
age: in a file that nobody writes any more an age does not grow, and nothing would fire.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector
from psycopg import Connection
from psycopg.rows import dict_row

from extract.core import settings
from scripts import reading

CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST
# More than a page: the checks that failed are counted over a week of bars.
TIMEOUT_MS = 20_000

SERIES: LiteralString = """
select
    symbol, asset_class, timeframe, bars, open_gaps, newest_bar_closed_at, next_bar_closes_at
from marts.enrichment_status
where is_enabled
"""
SOURCES: LiteralString = """
select
    health.source, health.breaker_state, health.last_request_at, health.last_success_at, health.requests,
    health.error_rate, health.p50_response_ms, health.p95_response_ms, health.quota_remaining,
    recent.unanswered
from marts.source_health as health
left join lateral (
    select avg(case when answers.success or answers.http_status is not null then 0 else 1 end) as unanswered
    from marts.enrichment_fetch_log as answers
    where
        answers.source = health.source
        and answers.fetch_timestamp > health.last_request_at - interval '24 hours'
) as recent on true
"""
CLASSES: LiteralString = """
select
    days.asset_class,
    sum(days.validated_records)::float8 / nullif(sum(days.total_records), 0) as validated,
    sum(days.avg_quality_score * days.total_records)::float8 / nullif(sum(days.total_records), 0) as quality,
    sum(days.data_completeness * days.total_records)::float8 / nullif(sum(days.total_records), 0) as completeness,
    sum(days.anomalies_detected)::float8 / nullif(sum(days.total_records), 0) as anomalies
from marts.data_quality_metrics as days
inner join (
    select asset_class, max(metric_date) as newest from marts.data_quality_metrics group by asset_class
) as last on last.asset_class = days.asset_class and days.metric_date > last.newest - 7
group by days.asset_class
"""
# A note is the name of a check, or that and a colon and particulars; notes are parted by semicolons.
FAILURES: LiteralString = """
select bars.asset_class, split_part(note, ':', 1) as "check", count(*) as bars
from marts.market_data_v2 as bars
cross join lateral unnest(string_to_array(bars.validation_notes, '; ')) as note
where
    bars.timestamp > (select max(timestamp) from marts.market_data_v2) - interval '7 days'
    and not bars.is_validated
    and note not like 'resampled from %%'
group by bars.asset_class, split_part(note, ':', 1)
"""
REJECTS: LiteralString = """
select source, reason, count(*) as bars from marts.rejected_bars group by source, reason
"""
BUILD: LiteralString = """
select
    max(computation_timestamp) as computed_at,
    sum(rows_computed) as rows_computed,
    sum(computation_time_ms) / 1000.0 as seconds,
    count(*) filter (where not success) as failed_series
from marts.enrichment_compute_log
where computation_timestamp = (select max(computation_timestamp) from marts.enrichment_compute_log)
"""
RUNS: LiteralString = """
select status, max(started_at) as started_at, max(ended_at) as ended_at from marts.pipeline_runs group by status
"""
ALERTS: LiteralString = """
select rule, severity, count(*) as alerts from marts.alerts where resolved_at is null group by rule, severity
"""


class _Collector(Collector):
    def __init__(self, connection: Connection[dict[str, Any]]) -> None:
        self._connection = connection

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._series()
        yield from self._sources()
        yield from self._quality()
        yield from self._pipeline()

    def _rows(self, statement: LiteralString) -> list[dict[str, Any]]:
        return self._connection.execute(statement, {}).fetchall()

    def _series(self) -> Iterable[GaugeMetricFamily]:
        rows, labels = self._rows(SERIES), ("symbol", "asset_class", "timeframe")
        for name, value, meaning in (
            ("newest_bar_close_timestamp_seconds", "newest_bar_closed_at", "When the newest bar closed"),
            ("next_bar_close_timestamp_seconds", "next_bar_closes_at", "When the next bar is due; absent: none is"),
            ("bars", "bars", "Bars in market_data_v2"),
            ("open_gaps", "open_gaps", "Ranges of missing bars that a request may still close"),
        ):
            yield _gauge(name, meaning, rows, labels, value)

    def _sources(self) -> Iterable[GaugeMetricFamily]:
        rows = self._rows(SOURCES)
        day = "its last 24 hours of use"
        for name, value, meaning in (
            ("source_requests", "requests", f"Requests in {day}"),
            ("source_error_ratio", "error_rate", f"Share of requests in {day} that failed"),
            ("source_unanswered_ratio", "unanswered", f"Share of requests in {day} that timed out or broke off"),
            ("source_quota_remaining", "quota_remaining", "What the source still allowed when it last said so"),
            ("source_last_request_timestamp_seconds", "last_request_at", "When it was last asked"),
            ("source_last_success_timestamp_seconds", "last_success_at", "When it last answered"),
        ):
            yield _gauge(name, meaning, rows, ("source",), value)
        latencies = [
            {"source": row["source"], "percentile": percentile, "seconds": row[column] / 1000}
            for row in rows
            for percentile, column in (("50", "p50_response_ms"), ("95", "p95_response_ms"))
            if row[column] is not None
        ]
        meaning = f"Response time in {day}"
        yield _gauge("source_fetch_latency_seconds", meaning, latencies, ("source", "percentile"), "seconds")
        states = [
            {"source": row["source"], "state": state, "is_in": row["breaker_state"] == state}
            for row in rows
            for state in ("CLOSED", "HALF_OPEN", "OPEN")
        ]
        meaning = "1 for the state its circuit breaker is in"
        yield _gauge("source_breaker_state", meaning, states, ("source", "state"), "is_in")

    def _quality(self) -> Iterable[GaugeMetricFamily]:
        rows = self._rows(CLASSES)
        for name, value, meaning in (
            ("validation_pass_ratio", "validated", "Share of validated bars"),
            ("quality_score", "quality", "Mean quality score"),
            ("data_completeness_ratio", "completeness", "Mean completeness"),
            ("anomalies_ratio", "anomalies", "Share of bars with unusual volume"),
        ):
            yield _gauge(name, f"{meaning} of the newest 7 days with data", rows, ("asset_class",), value)
        meaning = "Bars of the newest 7 days that failed a check"
        yield _gauge("validation_failures", meaning, self._rows(FAILURES), ("asset_class", "check"), "bars")
        meaning = "Rows of providers that could not become a bar, over all time"
        yield _gauge("rejected_bars", meaning, self._rows(REJECTS), ("source", "reason"), "bars")

    def _pipeline(self) -> Iterable[GaugeMetricFamily]:
        build = self._rows(BUILD)
        for name, value, meaning in (
            ("build_timestamp_seconds", "computed_at", "When the last build that wrote bars began"),
            ("build_rows", "rows_computed", "Bars it wrote"),
            ("feature_computation_seconds", "seconds", "Time it took for them; build_rows by this is the throughput"),
            ("feature_computation_failed_series", "failed_series", "Series with bars that fail row checks"),
        ):
            yield _gauge(name, meaning, build, (), value)
        runs = self._rows(RUNS)
        for name, value, meaning in (
            ("run_start_timestamp_seconds", "started_at", "When the last run of this outcome began"),
            ("run_end_timestamp_seconds", "ended_at", "When the last run of this outcome ended"),
        ):
            yield _gauge(name, meaning, runs, ("status",), value)
        meaning = "Alerts that are not resolved"
        yield _gauge("alerts_firing", meaning, self._rows(ALERTS), ("rule", "severity"), "alerts")


def _gauge(
    name: str, meaning: str, rows: Iterable[dict[str, Any]], labels: tuple[str, ...], value: str
) -> GaugeMetricFamily:
    """One sample a row that has the value; times become seconds since 1970."""
    family = GaugeMetricFamily(f"market_{name}", meaning, labels=labels)
    for row in rows:
        found = row[value]
        if found is not None:
            number = found.timestamp() if isinstance(found, datetime) else float(found)
            family.add_metric([str(row[label]) for label in labels], number)
    return family


def render() -> bytes:
    """All metrics as OpenMetrics. Raises reading.Unreadable without a warehouse."""
    with reading.connected("metrics", TIMEOUT_MS) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(connection))  # type: ignore[arg-type]
        return bytes(exposition.generate_latest(registry))  # type: ignore[no-untyped-call]


def default_path() -> Path:
    """For node_exporter: --collector.textfile.directory=.warehouse/metrics"""
    return settings.project_directory() / ".warehouse" / "metrics" / "market.prom"


def write(path: Path | None = None) -> Path:
    """Write the metrics to a file that a reader never sees half of."""
    path = path or default_path()
    text = render()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(text)
    # Readable for the exporter, which is another user.
    written = Path(file.name)
    written.chmod(0o644)
    written.replace(path)
    return path
