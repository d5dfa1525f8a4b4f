"""The shapes of the answers, for the OpenAPI description. Postgres writes the answers themselves."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from extract.calendar.timeframes import STEPS

if TYPE_CHECKING:
    Timeframe = str
else:
    Timeframe = Literal[tuple(STEPS)]
Cell = float | int | str | bool | None
AGE = "seconds since the newest bar closed, at the moment of the answer, or of as_of; null without a bar"
STALE = "whether the data are later than their service level allows; nights, weekends and holidays count as no delay"


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Fresh(Answer):
    data_age_seconds: int | None = Field(description=AGE)
    is_stale: bool = Field(description=STALE)


class Problem(Answer):
    detail: str = Field(description="what is wrong, and where it helps what to do")


class Series(Answer):
    asset_class: Literal["stock", "etf", "index", "crypto"]
    timeframe: Timeframe
    newest_bar: datetime | None = Field(description="when the newest bar opened, UTC")
    newest_bar_closed_at: datetime | None
    next_bar_closes_at: datetime | None = Field(description="when the next bar is due; null if none is any more")
    data_age_seconds: int | None = Field(description=AGE)
    late_seconds: int = Field(description="seconds since the next bar was due; 0 if it is not")
    is_stale: bool | None = Field(description=STALE)
    sla_level: Literal["on time", "late", "critical", "stale", "no data"]
    source_in_use: str | None = Field(description="the provider of the newest bar")
    bars: int
    validated_bars: int
    avg_quality_score: float | None
    data_completeness: float | None
    first_bar: datetime | None
    open_gaps: int
    is_enabled: bool | None
    is_fetched: bool = Field(description="false: resampled from a finer timeframe")
    last_run_at: datetime | None
    last_run_id: str | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None


class Status(Fresh):
    """The age is that of the symbol's newest series; it is stale if one of its series is."""

    symbol: str
    open_gaps: int
    series: list[Series]


class SourceMetrics(Answer):
    source: str
    breaker_state: Literal["CLOSED", "OPEN", "HALF_OPEN"]
    breaker_state_since: datetime | None
    blocked_until: datetime | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    requests: int = Field(description="in its last 24 hours of use, as the next four")
    failed_requests: int
    error_rate: float | None
    p50_response_ms: int | None
    p95_response_ms: int | None
    quota_remaining: int | None


class ClassMetrics(Answer):
    """Quality is that of the newest seven days with data."""

    asset_class: str
    series: int
    stale_series: int
    open_gaps: int
    data_age_seconds: int | None
    bars: int | None
    validation_pass_rate: float | None = Field(description="percent")
    avg_quality_score: float | None
    data_completeness: float | None
    gaps_detected: int | None
    anomalies_flagged: int | None


class Computation(Answer):
    """The last build that wrote bars."""

    computed_at: datetime | None
    rows_computed: int | None
    feature_computation_time_ms: int | None
    rows_per_second: float | None
    failed_series: int


class Run(Answer):
    run_id: str
    started_by: Literal["command", "schedule", "api"]
    started_at: datetime
    ended_at: datetime | None
    status: Literal["running", "succeeded", "partly", "failed"]
    exit_code: int | None
    failed_step: str | None


class Metrics(Fresh):
    """The age is that of the newest series of all; stale if an enabled series is."""

    sources: list[SourceMetrics]
    asset_classes: list[ClassMetrics]
    computation: Computation
    runs: list[Run] = Field(description="the newest ten")
    alerts_firing: int


class QualitySummary(Answer):
    """Of the days in the answer."""

    days: int
    first_date: date | None
    last_date: date | None
    total_records: int
    validated_records: int
    validation_rate: float | None = Field(description="percent")
    avg_quality_score: float | None
    data_completeness: float | None
    gaps_detected: int
    anomalies_detected: int


class OpenGap(Answer):
    timeframe: str
    gap_from: datetime
    gap_to: datetime
    missing_bars: int
    verdict: str
    place: str
    evidence: str


class Quality(Fresh):
    """Column-wise: the n-th value of each column belongs to the n-th day."""

    symbol: str
    summary: QualitySummary
    open_gaps: list[OpenGap] = Field(
        description="the newest hundred; place says whether it lies between bars (those /status counts), or around them"
    )
    rejected_bars: int = Field(description="rows of providers that could not become a bar, over all time")
    columns: dict[str, list[Cell]]


class Bars(Fresh):
    """Column-wise: the n-th value of each column belongs to the n-th bar; bars are in order of time."""

    symbol: str
    asset_class: Literal["stock", "etf", "index", "crypto"]
    timeframe: Timeframe
    as_of: datetime | None = Field(description="the instant whose knowledge is shown; null = now")
    adjusted: Literal["splits", "total_return"] | None = Field(description="what prices are adjusted for")
    count: int
    next_cursor: str | None = Field(description="ask again with cursor= this; null at the end")
    columns: dict[str, list[Cell]]


class BarsOfMany(Fresh):
    """Column-wise, as of one; the column symbol says whose a bar is. The age is that of the oldest series."""

    symbols: list[str]
    timeframe: Timeframe
    as_of: datetime | None = Field(description="the instant whose knowledge is shown; null = now")
    adjusted: Literal["splits", "total_return"] | None = Field(description="what prices are adjusted for")
    count: int
    next_cursor: str | None = Field(description="ask again with cursor= this; null at the end")
    columns: dict[str, list[Cell]]


class SymbolSeries(Answer):
    timeframe: Timeframe
    first_bar: datetime | None = Field(description="when it opened, UTC, as the next")
    newest_bar: datetime | None
    bars: int
    is_fetched: bool = Field(description="false: resampled from a finer timeframe")
    data_age_seconds: int | None = Field(description=AGE)
    is_stale: bool | None = Field(description=STALE)


class SymbolThere(Fresh):
    symbol: str
    asset_class: Literal["stock", "etf", "index", "crypto"]
    is_enabled: bool | None = Field(description="whether it is still asked for")
    series: list[SymbolSeries]


class Symbols(Fresh):
    """The age is that of the newest series of all; stale if an enabled series is."""

    known_since: datetime | None = Field(description="the first build: as_of knows nothing earlier")
    symbols: list[SymbolThere]


class Started(Answer):
    run_id: str
    status: Literal["started"]


class Health(Answer):
    status: Literal["ok"]
    version: str = Field(description="of this product")
    series: int
