"""Answers to the examples of the documentation, as the demo's warehouse gives them (shortened)."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, Any] = {
    "status": {
        "symbol": "AAPL",
        "data_age_seconds": 18000,
        "is_stale": False,
        "open_gaps": 0,
        "series": [
            {
                "asset_class": "stock", "timeframe": "1d", "newest_bar": "2013-03-01T05:00:00+00:00",
                "newest_bar_closed_at": "2013-03-01T21:00:00+00:00",
                "next_bar_closes_at": "2013-03-04T21:00:00+00:00", "data_age_seconds": 18000, "late_seconds": 0,
                "is_stale": False, "sla_level": "on time", "source_in_use": "polygon", "bars": 3270,
                "validated_bars": 3270, "avg_quality_score": 1.0, "data_completeness": 1.0,
                "first_bar": "2000-03-01T05:00:00+00:00", "open_gaps": 0, "is_enabled": True, "is_fetched": True,
                "last_run_at": "2013-03-02T02:00:00+00:00", "last_run_id": "cda052035cb1421eab14510a709d1431",
                "last_success_at": "2013-03-02T02:00:00+00:00", "last_error_at": None, "last_error": None,
            }
        ],
    },
    "metrics": {
        "data_age_seconds": 0,
        "is_stale": False,
        "sources": [
            {
                "source": "binance", "breaker_state": "CLOSED", "breaker_state_since": "2013-03-01T02:00:00+00:00",
                "blocked_until": None, "last_success_at": "2013-03-02T02:00:00+00:00", "last_error_at": None,
                "requests": 30, "failed_requests": 0, "error_rate": 0.0, "p50_response_ms": 102,
                "p95_response_ms": 214, "quota_remaining": 197,
            }
        ],
        "asset_classes": [
            {
                "asset_class": "crypto", "series": 18, "stale_series": 0, "open_gaps": 0, "data_age_seconds": 0,
                "bars": 5820, "validation_pass_rate": 100.0, "avg_quality_score": 0.984, "data_completeness": 1.0,
                "gaps_detected": 0, "anomalies_flagged": 30,
            }
        ],
        "computation": {
            "computed_at": "2013-03-02T02:00:00+00:00", "rows_computed": 984, "feature_computation_time_ms": 829,
            "rows_per_second": 1187, "failed_series": 0,
        },
        "runs": [
            {
                "run_id": "0f9fb9a5a2a14c5ab7e0a1f1c0a9b0de", "started_by": "api",
                "started_at": "2013-03-02T02:00:00+00:00", "ended_at": "2013-03-02T02:00:41+00:00",
                "status": "succeeded", "exit_code": 0, "failed_step": None,
            }
        ],
        "alerts_firing": 0,
    },
    "trigger": {"run_id": "0f9fb9a5a2a14c5ab7e0a1f1c0a9b0de", "status": "started"},
    "quality": {
        "symbol": "AAPL",
        "data_age_seconds": 18000,
        "is_stale": False,
        "summary": {
            "days": 2, "first_date": "2013-02-28", "last_date": "2013-03-01", "total_records": 2,
            "validated_records": 2, "validation_rate": 100.0, "avg_quality_score": 0.95, "data_completeness": 1.0,
            "gaps_detected": 0, "anomalies_detected": 0,
        },
        "open_gaps": [
            {
                "timeframe": "1d", "gap_from": "1999-12-27T05:00:00+00:00", "gap_to": "1999-12-31T05:00:00+00:00",
                "missing_bars": 4, "verdict": "provider hole", "place": "before",
                "evidence": "yahoo answered without it, more than nobody trading; one look, on 2013-03-02",
            }
        ],
        "rejected_bars": 0,
        "columns": {
            "metric_date": ["2013-02-28", "2013-03-01"], "asset_class": ["stock", "stock"], "total_records": [1, 1],
            "validated_records": [1, 1], "validation_rate": [100, 100], "gaps_detected": [0, 0],
            "anomalies_detected": [0, 0], "avg_quality_score": [1, 0.9], "data_completeness": [1, 1],
        },
    },
    "data": {
        "symbol": "AAPL", "asset_class": "stock", "timeframe": "1d", "as_of": None, "adjusted": None, "count": 2,
        "next_cursor": "before-1362027600", "data_age_seconds": 18000, "is_stale": False,
        "columns": {
            "timestamp": ["2013-02-28T05:00:00+00:00", "2013-03-01T05:00:00+00:00"],
            "close": [441.4, 430.47],
        },
    },
    "many": {
        "symbols": ["AAPL", "BTC"], "timeframe": "1d", "as_of": None, "adjusted": None, "count": 2,
        "next_cursor": "before-1362096000-BTC", "data_age_seconds": 18000, "is_stale": False,
        "columns": {
            "symbol": ["BTC", "AAPL"], "timestamp": ["2013-03-01T00:00:00+00:00", "2013-03-01T05:00:00+00:00"],
            "close": [36850.23, 430.47],
        },
    },
    "symbols": {
        "data_age_seconds": 0, "is_stale": False, "known_since": "2013-03-01T02:00:00+00:00",
        "symbols": [
            {
                "symbol": "AAPL", "asset_class": "stock", "is_enabled": True, "data_age_seconds": 18000,
                "is_stale": False,
                "series": [
                    {
                        "timeframe": "1d", "first_bar": "2000-03-01T05:00:00+00:00",
                        "newest_bar": "2013-03-01T05:00:00+00:00", "bars": 3270, "is_fetched": True,
                        "data_age_seconds": 18000, "is_stale": False,
                    }
                ],
            }
        ],
    },
    "health": {"status": "ok", "version": "0.2.0", "series": 28},
}  # fmt: skip
