"""Whatever providers do for a day, alone or two at once: when it is over, the warehouse is the one of a day without faults.

A seed draws one or two faults, what they hit, and between which runs they are in force. The pipeline asks every few hours
(the build is made at the end), the faults pass, and it asks as before for some days. Then each bar and value of the twin is
there, or a gap says honestly that it is not. No run takes long, and none asks many times as often as the twin's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from scripts.postgres import Server
from tests.reliability.campaign import Campaign, Play, Played
from tests.reliability.stage import Stage, staged
from tests.warehouse import crypto, stock

BEGINNING = datetime.fromisoformat("2013-02-25T02:00:00Z")
# When the pipeline runs, in hours; faults are in force between two of the first ones only.
FAULTY = (6, 13, 27)
CALM = (31, 55)
REGISTRY = [
    crypto("BTC", "5m 1d"),
    crypto("ETH", "1h", polygon="", yahoo="", source_priority="binance"),
    stock("AAPL", "1d"),
]
LONGEST_RUN = 120
# As often as they are worth it: the mirror is only asked where the spot API refuses.
HOSTS = (
    *["binance-spot"] * 4, *["polygon"] * 3, *["binance-archive"] * 3, *["binance-futures"] * 2, *["yahoo"] * 2,
    "binance-data-api",
)  # fmt: skip
# What a row is: which answer gave it, and what was computed of when it came.
HOW_IT_CAME = {"fetched_at"}
HONEST = {"not fetched", "not answered", "outage", "provider hole", "rejected"}

Fault = dict[str, Any]


def random_fault(pick: random.Random) -> Fault:
    """One fault of any kind, on a host, an endpoint or a symbol of it."""
    fault: Fault = {"provider": pick.choice(HOSTS)}
    if pick.random() < 0.5:
        fault["endpoint"] = pick.choice(
            ["bars", "bars", "grouped_daily", "splits", "funding", "open_interest", "metrics", "checksum"]
        )
    kind = pick.choice(
        [
            "status", "html", "truncated", "timeout", "disconnect", "schema", "body", "edit", "short", "loop", "headers",
            "drip", "large", "late", "missing", "amended", "duplicated", "unfinished", "stray", "null",
        ]
    )  # fmt: skip
    fault["kind"] = kind
    # Of whole days up to the present: what a bar fault hits is read again while it is recent.
    start = BEGINNING + timedelta(hours=pick.randint(-20, 24))
    hours = pick.choice([1, 3, 24])
    span = {"start": start.isoformat(), "end": (start + timedelta(hours=hours)).isoformat()}
    if pick.random() < 0.3:
        fault["count"] = pick.randint(1, 6)
    if kind == "status":
        fault["status"] = pick.choice([400, 401, 403, 404, 418, 429, 451, 500, 502, 503])
        if fault["status"] in (418, 429, 503) and pick.random() < 0.5:
            fault["retry_after"] = pick.choice([0, 1, 100_000, 10**9])
    elif kind == "timeout":
        fault["seconds"] = 10
        fault["count"] = 3
    elif kind == "schema":
        fault |= pick.choice(
            [
                {"rename": {"c": "close"}}, {"drop": ["v"]}, {"retype": {"o": "12,5"}}, {"extra": {"new": 1}},
                {"drop": ["4"]}, {"retype": {"0": "yesterday"}}, {"retype": {"t": None, "5": None}},
            ]
        )  # fmt: skip
    elif kind == "body":
        fault["body"] = pick.choice(
            ["", "[]", "{}", "null", "[[]]", '{"results": null}', "\\u0000", '{"chart": null}', "NaN", "[1]"]
        )
    elif kind == "edit":
        find, body = pick.choice(
            [
                ('"ticker":"[^"]*"', '"ticker":"ZZZ"'), ('"symbol":"[^"]*"', '"symbol":"ZZZ"'), (r"(\d)\.(\d)", r"\g<1>,\g<2>"),
                ('"status":"OK"', '"status":"DELAYED"'), (r"\d{5,}\.", "-1."), ('"results"', '"result"'),
                ("[0-9a-f]{64}", "0" * 64),
            ]
        )  # fmt: skip
        fault |= {"find": find, "body": body}
    elif kind == "short":
        fault["rows"] = pick.choice([0, 1, 2, 7])
    elif kind == "headers":
        fault["headers"] = pick.choice(
            [
                {"Retry-After": "soon"}, {"X-MBX-USED-WEIGHT-1M": "99999999"}, {"X-MBX-USED-WEIGHT-1M": "many"},
                {"Content-Type": "text/plain; charset=utf-17"}, {"Content-Encoding": "br"}, {"Date": "yesterday"},
            ]
        )  # fmt: skip
    elif kind == "drip":
        fault |= {"seconds": 0.05, "count": 3}
    elif kind == "large":
        fault |= {"size": 50_000_000, "is_packed": pick.random() < 0.5, "count": 2}
    elif kind == "late":
        fault["seconds"] = pick.choice([600, 7200, 100_000])
    elif kind == "stray":
        fault["seconds"] = pick.choice([-40 * 86_400, -86_400, 1, 1800, 86_400, 10**9])
    elif kind in ("missing", "duplicated", "null"):
        fault |= span
    elif kind == "amended":
        fault |= span | {"field": pick.choice(["close", "volume"]), "factor": pick.choice(["1.01", "100", "0"])}
        fault["endpoint"] = "bars"
    return fault


def extracted() -> int:
    from extract.commands import extraction

    return extraction.extract().exit_code


def built() -> int:
    from scripts.pipeline import build

    return int(build.build_turn().has_errors)


@dataclass(frozen=True)
class Twin:
    """The days without faults."""

    bars: dict[tuple[Any, ...], dict[str, Any]]
    requests: list[int]


def bars_of(stage: Stage) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The mart by key, without when rows were computed and fetched."""
    columns = [
        name
        for (name,) in stage.query(
            "select column_name from information_schema.columns where table_schema = 'marts' and table_name = 'market_data_v2'"
        )
        if name not in {"computed_at", "updated_at", "created_at", *HOW_IT_CAME}
    ]
    texts = ", ".join(f'cast("{name}" as text)' for name in columns)
    rows = [dict(zip(columns, row, strict=True)) for row in stage.query(f"select {texts} from marts.market_data_v2")]
    return {(row["symbol"], row["timeframe"], row["timestamp"]): row for row in rows}


def live(stage: Stage, faults: list[tuple[Fault, int, int]], played: Played) -> list[int]:
    """The days with these faults, each in force from one run up to another; how many requests each run took."""
    asked: list[int] = []
    codes: Counter[int] = Counter()
    for number, hours in enumerate((*FAULTY, *CALM)):
        stage.simulator.clear_faults()
        for fault, first, last in faults:
            if first <= number <= last:
                stage.simulator.add_fault(**fault)
        stage.at(BEGINNING + timedelta(hours=hours))
        # Breaker, bans and budgets wait by the real clock: what passes here must pass for them, too.
        passed = "interval '30 hours'"
        with psycopg.connect(stage.database.dsn, autocommit=True) as connection:
            connection.execute(f"update ops.circuit_breaker set opened_at = opened_at - {passed}".encode())
            connection.execute(
                f"update ops.source_budget set blocked_until = blocked_until - {passed},"
                f" window_started_at = window_started_at - {passed}".encode()
            )
        stage.simulator.clear_requests()
        ended = stage.child(extracted, longest=LONGEST_RUN)
        asked.append(len(stage.simulator.requests))
        codes[ended.code] += 1
        assert ended.code in (0, 1, 3), f"run {number} ended with {ended.code}: {stage.last_words()}"
    played.counts["runs"] += codes.total()
    played.counts["runs of which a part failed"] += codes[1] + codes[3]
    assert stage.child(built).code == 0, f"the build failed: {stage.last_words()}"
    return asked


def play_faults(stage: Stage, twin: Twin, seed: int, played: Played) -> None:
    """One seed; see the module."""
    pick = random.Random(seed)
    faults = []
    for _ in range(pick.choice([1, 2])):
        first = pick.randrange(len(FAULTY))
        faults.append((random_fault(pick), first, pick.randrange(first, len(FAULTY))))
    for fault, first, last in faults:
        played.story.append(f"{fault} in runs {first} to {last}")
        played.counts[f"faults of kind {fault['kind']}"] += 1
    stage.reset("beginning")
    asked = live(stage, faults, played)
    played.counts["single faults" if len(faults) == 1 else "pairs of faults"] += 1
    for number, (ours, theirs) in enumerate(zip(asked, twin.requests, strict=True)):
        assert ours <= 8 * theirs + 60, f"run {number} asked {ours} times, the twin's {theirs} times"
    compare(stage, twin, played)


def compare(stage: Stage, twin: Twin, played: Played) -> None:
    """Every bar of the twin is there with the same values, or in a gap that says what is known."""
    ours = bars_of(stage)
    gaps = stage.query("select symbol, timeframe, gap_from, gap_to, verdict from marts.bar_gaps")
    wrong = []
    for key, row in twin.bars.items():
        if key not in ours:
            at = datetime.fromisoformat(row["timestamp"])
            inside = [g for g in gaps if g[:2] == key[:2] and g[2] <= at < g[3]]
            if any(gap[4] in HONEST for gap in inside):
                played.counts["bars that are missing, in an honest gap"] += 1
            else:
                wrong.append(f"{key} is missing: {inside}")
        elif ours[key] != row:
            odd = {name: (ours[key][name], row[name]) for name in row if ours[key][name] != row[name]}
            wrong.append(f"{key} (ours, twin's): {odd}")
    wrong += [f"{key} is not in the twin" for key in ours.keys() - twin.bars.keys()]
    played.counts["bars compared"] += len(twin.bars)
    assert not wrong, f"{len(wrong)} bars\n" + "\n".join(wrong[:6])


@contextmanager
def opened(server: Server, directory: Path) -> Iterator[Play]:
    """The warehouse before the days, and the days without faults."""
    with staged(server, directory, REGISTRY, BEGINNING.isoformat()) as stage:
        stage.at(BEGINNING)
        for work in (extracted, built):
            assert stage.child(work).code == 0, stage.last_words()
        stage.keep("beginning")
        requests = live(stage, [], Played())
        twin = Twin(bars_of(stage), requests)
        yield lambda seed, played: play_faults(stage, twin, seed, played)


PROVIDERS = Campaign(
    "providers",
    "providers fail in one or two ways for a day: afterwards every bar is the twin's, or in an honest gap; every run ends",
    opened,
)
