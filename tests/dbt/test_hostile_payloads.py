"""Whatever stands in a payload, every build goes through, and no other series changes.

Data flow: good answers of every endpoint (made by payloads.py, and the recorded ones beside the checkout) -> mutated at
random (seeded) -> raw rows of assets of their own, beside two control assets that nobody touches -> the whole project is
built, its data tests included -> everything that staging and intermediate models say is read.

    HOSTILE_ROUNDS=8 HOSTILE_ASSETS=200 HOSTILE_SEED=7 .venv/bin/python -m pytest tests/dbt/test_hostile_payloads.py  # long
    PG=15 .venv/bin/python -m pytest tests/dbt/test_hostile_payloads.py                                # on PostgreSQL 15

A round that fails is played again by its seed, which is in the name of the failure: HOSTILE_SEED=<seed> HOSTILE_ROUNDS=1
and the same HOSTILE_ASSETS.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from scripts.site.reference_formulas import STEP
from tests import payloads
from tests.conftest import SHARED_DATA
from tests.oracle.bars import Bar
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, stock

D = Decimal
NOW = datetime(2025, 12, 13, tzinfo=UTC)
FIRST = datetime(2025, 12, 8, tzinfo=UTC)
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "1"))
# Assets of a round, half coins and half stocks; each gets one mutated answer of every endpoint of its class.
ASSETS = int(os.environ.get("HOSTILE_ASSETS", "24"))

# What a provider, a proxy or a bug may put where another value belongs.
STRANGE: list[Any] = [
    None, True, False, {}, [], [[]], {"a": {"b": [1]}}, "", " ", "null", "true", "TBD", "N/A", "NaN", "Infinity",
    "-Infinity", "1e400000", "1e-20000", "1.5E-7", "1e999", "+5", ".5", "5.", " 7 ", "0x10", "1_000", "1,000", "１２３", "٣",
    "\u202e", "😀", "a" * 5000, "9" * 5000, "-0", "--1", "1718000000", "2026-02-30", "0000-00-00", "0000-00-00 00:00:00",
    "99999-01-01", "0044-03-15 BC", "2025-12-09T24:00:00Z", "2025-12-09 25:61:61", "1900-02-29", "2024-02-29", "Mars/Olympus",
    "../etc/passwd", "localtime", "utc", "-0500", "Europe/London", "BUY", "sell", 0, -1, 1, 0.5, -0.5, 1e-9, 1e9, 1e15,
    1e18, 1e20, -1e20, 10**18, 2**63, -(2**63), 10**30, 99999999999, 100000000000, 253402300800, 7258118400, 7258118400000,
    -62135596801, D("1E-30"), D("1.1E-10"), D("4.9E-11"), D("1E+1000"), D("1E-1000"), D("1E-16000"),
    D("999999999.99999999999"), D("99999999999999999999.999999999"), D("0.00004999999999999"),
]  # fmt: skip

# Tables that keep what was worked in, and what of it says when rather than what.
KEPT = (
    "intermediate.int_bar_revisions", "intermediate.int_bars_selected", "intermediate.int_bars_resampled",
    "intermediate.int_bar_versions", "intermediate.int_bars_in_progress", "intermediate.int_funding_rates",
    "intermediate.int_futures_samples", "intermediate.int_liquidations", "intermediate.int_exchange_inflows",
    "intermediate.int_actions_reported", "intermediate.int_splits", "intermediate.int_split_factors",
    "intermediate.int_dividends", "intermediate.int_price_adjustments", "marts.market_data_v2", "marts.rejected_bars",
    "marts.rejected_rows",
)  # fmt: skip
# When a row was written, which a full refresh does for all.
WRITTEN_AT = ("computed_at", "updated_at")
CONTROLS = ("CTRLC", "CTRLS")


@dataclass(frozen=True)
class Template:
    """A good answer of an endpoint."""

    provider: str
    answer: Answer


def bars(timeframe: str, count: int, first: datetime = FIRST, price: int = 100) -> list[Bar]:
    return [
        Bar(
            first + n * STEP[timeframe], D(price + n % 5), D(price + 9), D(price - 9), D(price + n % 7), D(10 + n), D(4)
        )
        for n in range(count)
    ]


def days_of_stock(count: int, price: int = 100) -> list[Bar]:
    """Sessions of New York from Monday, 2025-12-08 on (00:00 there)."""
    return bars("1d", count, FIRST + timedelta(hours=5), price)


def coin_answers(symbol: str) -> Iterator[Template]:
    fives, days = bars("5m", 40), bars("1d", 4)
    hours = [FIRST + timedelta(hours=8 * n) for n in range(12)]
    samples = [FIRST + timedelta(minutes=5 * n) for n in range(30)]
    window = (FIRST, FIRST + timedelta(days=4))
    yield Template("binance", bar_answer("binance", symbol, "5m", fives))
    yield Template("binance", bar_answer("binance", symbol, "5m", fives[5:35], origin="archive"))
    yield Template("polygon", bar_answer("polygon", symbol, "5m", fives))
    yield Template("yahoo", bar_answer("yahoo", symbol, "1d", days, time_zone="UTC"))
    yield Template(
        "binance", Answer("funding", symbol, payloads.funding((at, D("0.0001")) for at in hours), None, window)
    )
    yield Template(
        "binance",
        Answer(
            "funding", symbol, payloads.funding_archive((at, D("0.0002"), 8) for at in hours), None, window,
            origin="archive",
        ),
    )  # fmt: skip
    interest = payloads.open_interest((at, D(1000 + n)) for n, at in enumerate(samples))
    yield Template("binance", Answer("open_interest", symbol, interest, "5m", window))
    now = {"openInterest": "1234.5", "symbol": "T", "time": payloads.milliseconds(NOW)}
    yield Template("binance", Answer("open_interest_now", symbol, now, None, (NOW, NOW)))
    ratio = payloads.long_short_ratio((at, D("0.6"), D("0.4")) for at in samples)
    yield Template("binance", Answer("long_short_ratio", symbol, ratio, "5m", window))
    rows = [[f"{at:%Y-%m-%d %H:%M:%S}", "T", "1000.5", "1", "1", "1", "1.5", "1"] for at in samples]
    metrics = {"file": "T-metrics.zip", "checksum": "0", "header": None, "rows": rows}
    yield Template("binance", Answer("metrics", symbol, metrics, None, window, origin="archive"))
    orders = payloads.liquidations((at, "SELL" if at.minute % 2 else "BUY", D(3)) for at in samples)
    yield Template("binance", Answer("liquidations", symbol, orders, None, window, origin="stream"))
    flows = payloads.exchange_inflow({(FIRST + timedelta(days=n)).date(): D(500 + n) for n in range(3)})
    yield Template("coinmetrics", Answer("exchange_inflow", symbol, flows, "1d", window))


def stock_answers(symbol: str) -> Iterator[Template]:
    days = days_of_stock(5)
    opened = datetime(2025, 12, 8, 14, 30, tzinfo=UTC)
    window = (datetime(2020, 1, 1, tzinfo=UTC), NOW)
    ex_dates = {date(2025, 12, 9): (2, 1), date(2025, 12, 11): (1, 10)}
    paid = {date(2025, 12, 10): D("0.25"), date(2025, 12, 12): D("0.5")}
    yield Template("polygon", bar_answer("polygon", symbol, "1d", days))
    yield Template("polygon", bar_answer("polygon", symbol, "5m", bars("5m", 40, opened)))
    yield Template("polygon", bar_answer("polygon", symbol, "1w", bars("1w", 3, FIRST + timedelta(days=-14, hours=5))))
    day = days[2].timestamp
    grouped = payloads.polygon_grouped({symbol: days[2], "NOBODY": days[2]}, day + timedelta(hours=16))
    yield Template("polygon", Answer("grouped_daily", None, grouped, "1d", (day, day + timedelta(days=1))))
    yield Template("polygon", Answer("splits", symbol, payloads.polygon_splits(ex_dates), None, window))
    yield Template("polygon", Answer("dividends", symbol, payloads.polygon_dividends(paid), None, window))
    # An answer about the whole market takes back what it passes over, so it is about other days than the control's splits.
    market = payloads.polygon_splits({date(2025, 11, 12): (3, 1)}, ticker=symbol)
    november = (datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 11, 20, tzinfo=UTC))
    if symbol not in CONTROLS:
        yield Template("polygon", Answer("splits", None, market, None, november))
    yield Template("yahoo", bar_answer("yahoo", symbol, "1d", days, splits=ex_dates, dividends=paid, window=window))
    yield Template("yahoo", bar_answer("yahoo", symbol, "5m", bars("5m", 40, opened)))
    yield Template("yahoo", bar_answer("yahoo", symbol, "1w", bars("1w", 2, FIRST + timedelta(days=-7, hours=5))))


def recorded() -> list[tuple[str, str, str | None, Any]]:
    """(provider, endpoint, timeframe, payload) of the recorded answers beside the checkout; none where it has none."""
    found: list[tuple[str, str, str | None, Any]] = []
    for file in sorted(SHARED_DATA.glob("yahoo/recorded_http_yahoo_finance2/*chart-*.json")):
        document = json.loads(file.read_text(), parse_float=D)
        body = document.get("response", {}).get("body", document)
        body = json.loads(body, parse_float=D) if isinstance(body, str) else body
        if isinstance(body, dict) and body.get("chart", {}).get("result"):
            found.append(("yahoo", "bars", "1d", body))
    mocks = SHARED_DATA / "polygon" / "massive_client_mocks"
    for pattern, endpoint, timeframe in (
        ("v2/aggs/ticker/AAPL/range/**/*.json", "bars", "1d"),
        ("v2/aggs/grouped/**/*.json", "grouped_daily", "1d"),
        ("v3/reference/splits*.json", "splits", None),
        ("v3/reference/dividends*.json", "dividends", None),
    ):
        for file in sorted(mocks.glob(pattern)):
            found.append(("polygon", endpoint, timeframe, json.loads(file.read_text(), parse_float=D)))
    http = SHARED_DATA / "binance" / "gocryptotrader" / "http.json"
    routes = json.loads(http.read_text(), parse_float=D)["routes"] if http.exists() else {}
    for path, endpoint, timeframe in (
        ("/api/v3/klines", "bars", "5m"),
        ("/fapi/v1/fundingRate", "funding", None),
        ("/fapi/v1/openInterest", "open_interest_now", None),
        ("/futures/data/openInterestHist", "open_interest", "5m"),
        ("/futures/data/globalLongShortAccountRatio", "long_short_ratio", "5m"),
    ):
        for said in routes.get(path, {}).get("GET", []):
            if (data := said.get("data")) and isinstance(data, list | dict):
                found.append(("binance", endpoint, timeframe, data[:50] if isinstance(data, list) else data))
    return found


# ---------------------------------------------------------------- mutations


def places(payload: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below the payload."""
    found: list[tuple[Any, Any]] = []
    todo = [payload]
    while todo:
        container = todo.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                todo.append(container[key])
    return found


def mutated(payload: Any, rng: random.Random) -> Any:
    """The payload with one to four things wrong. What stands at a place of its own is as likely as what stands in rows."""
    payload = copy.deepcopy(payload)
    for _ in range(rng.randint(1, 4)):
        found = places(payload)
        if not found:
            return payload
        # By depth first: a file of a thousand rows has one `rows`.
        leaves = [place for place in found if not isinstance(place[0][place[1]], dict | list)]
        container, key = rng.choice(rng.choice([found, leaves or found, found[:20]]))
        value = container[key]
        kind = rng.randrange(9)
        if kind <= 3:
            container[key] = copy.deepcopy(rng.choice(STRANGE))
        elif kind == 4:
            del container[key]
        elif kind == 5:
            container[key] = str(value) if rng.random() < 0.5 else [value]
        elif kind == 6 and isinstance(value, int | Decimal) and not isinstance(value, bool):
            factors: list[Any] = [-1, 1000, 1_000_000, D("0.001"), D("1E-9"), D("1E+12")]
            container[key] = value * rng.choice(factors)
        elif kind == 7 and isinstance(container, list):
            twin = copy.deepcopy(value)
            if isinstance(twin, dict | list) and twin and rng.random() < 0.7:
                inner = rng.choice(list(twin) if isinstance(twin, dict) else range(len(twin)))
                twin[inner] = copy.deepcopy(rng.choice(STRANGE))
            container.insert(rng.randrange(len(container) + 1), twin)
        else:
            other, place = rng.choice(found)
            container[key] = copy.deepcopy(other[place])
    return payload


# ---------------------------------------------------------------- the rounds


def load(warehouse: Warehouse, templates: list[Template]) -> None:
    for provider in ("polygon", "binance", "yahoo", "coinmetrics"):
        answers = [one.answer for one in templates if one.provider == provider]
        for n, answer in enumerate(answers):
            # Whoever asks twice gets two answers.
            answer.fetched_at = NOW + timedelta(milliseconds=n)
            answer.requested_at = NOW
        if answers:
            warehouse.load(provider, *answers)


def with_payload(template: Template, payload: Any) -> Template:
    answer = copy.copy(template.answer)
    answer.payload = payload
    answer.values = {"row_count": 1}
    return Template(template.provider, answer)


def kept_of_controls(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    out = {}
    for relation in KEPT:
        columns = {
            row["column_name"]
            for row in warehouse.query(
                "select column_name from information_schema.columns where table_schema || '.' || table_name = %s",
                relation,
            )
        }
        where = (
            "symbol = any(%s)" if "symbol" in columns
            else "series_id in (select series_id from intermediate.int_series where symbol = any(%s))"
        )  # fmt: skip
        rows = warehouse.query(
            f"select to_jsonb(kept) - 'changed_in_batch' as row from {relation} as kept where {where}", list(CONTROLS)
        )
        out[relation] = sorted((row["row"] for row in rows), key=str)
    return out


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]], apart_from: Sequence[str] = ()) -> list[Any]:
    """The rows that came, went or differ: of a row that differs, its columns that do."""
    if len(before) != len(after):
        return [row for row in before if row not in after] + [row for row in after if row not in before]
    found: list[Any] = []
    for row, other in zip(before, after, strict=True):
        columns = {name for name in row if row[name] != other.get(name)} - set(apart_from)
        if columns:
            found.append({name: (row[name], other.get(name)) for name in columns} | {"row": str(row)[:300]})
    return found


def read_everything(warehouse: Warehouse) -> int:
    """Every row of every view and table of staging and intermediate, as Python reads it; how many."""
    relations = warehouse.query(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema in ('staging', 'intermediate', 'marts') order by 1"
    )
    return sum(len(warehouse.query(f"select * from {row['name']}")) for row in relations)


@pytest.fixture(scope="module")
def control(make_warehouse: MakeWarehouse) -> Warehouse:
    """The control assets, built; the others are in the registry already, without an answer."""
    warehouse = make_warehouse("warehouse")
    warehouse.now = NOW
    # Unit tests and data tests, too, must not depend on the zone of the server.
    warehouse.environment["PGOPTIONS"] = "-c timezone=America/New_York"
    coins = [crypto(f"C{n}", "5m 1d") for n in range(ASSETS // 2)]
    stocks = [stock(f"S{n}", "5m 1d 1w") for n in range(ASSETS // 2)]
    warehouse.assets([crypto("CTRLC", "5m 1d"), stock("CTRLS", "5m 1d 1w"), *coins, *stocks])
    load(warehouse, [*coin_answers("CTRLC"), *stock_answers("CTRLS")])
    warehouse.build()
    return warehouse


def hostile(seed: int) -> list[Template]:
    rng = random.Random(seed)
    recordings = recorded()
    out = []
    for n in range(ASSETS // 2):
        for symbol, make in ((f"C{n}", coin_answers), (f"S{n}", stock_answers)):
            for template in make(symbol):
                out.append(with_payload(template, mutated(template.answer.payload, rng)))
    for provider, endpoint, timeframe, payload in recordings:
        symbol = f"{'C' if provider == 'binance' else 'S'}{rng.randrange(ASSETS // 2)}"
        wide = endpoint == "grouped_daily"
        window = (datetime(2000, 1, 1, tzinfo=UTC), NOW)
        answer = Answer(endpoint, None if wide else symbol, payload, timeframe, window)
        out.append(with_payload(Template(provider, answer), mutated(payload, rng)))
    return out


def test_no_payload_stops_a_build_or_touches_another_series(control: Warehouse) -> None:
    before = kept_of_controls(control)
    assert all(
        before[name]
        for name in KEPT
        if name not in ("marts.rejected_bars", "marts.rejected_rows", "intermediate.int_bars_in_progress")
    )
    count = 0
    for seed in range(SEED, SEED + ROUNDS):
        templates = hostile(seed)
        count += len(templates)
        load(control, templates)
        is_full_refresh = seed % 4 == 3
        try:
            control.build(tests=True, unit_tests=seed == SEED, full_refresh=is_full_refresh)
            assert read_everything(control) > 0
        except Exception as problem:
            raise AssertionError(f"HOSTILE_SEED={seed}: {problem}") from problem
        after = kept_of_controls(control)
        for name, rows in before.items():
            found = changes(rows, after[name], WRITTEN_AT if is_full_refresh else ())
            assert found == [], f"HOSTILE_SEED={seed}: {name} of the control assets"
        before = after
    reasons = {
        row["reason"]
        for row in control.query("select reason from marts.rejected_bars union select reason from marts.rejected_rows")
    }
    assert len(reasons) >= 8, reasons
    print(f"{count} mutated payloads, {len(reasons)} reasons")
