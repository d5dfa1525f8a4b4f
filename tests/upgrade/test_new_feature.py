"""A feature is added to a warehouse in use: Wilder's RSI, as a developer adds it, in five files. One ordinary build brings it
to the mart, its history, as-of, corrections, completeness, the list of features, the API, exports, the symbol page, the
dictionary with its check and the leakage check, and loses nothing of the past."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet
import pytest

from scripts import site
from scripts.reading import leakage
from scripts.site.dashboard import connect
from scripts.site.dictionary import compile_dictionary
from tests.oracle.bars import Bar
from tests.scripts.conftest import Served, serving
from tests.warehouse import ROOT, MakeWarehouse, Warehouse, crypto

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DATA = "/api/v1/data/BTC"
MODELS = "dbt_project/models"
ORACLE = "scripts/site/reference_formulas.py"

DEFINITION = """\
{% docs rsi_14 %}
How much of the movement of closes was upwards, 0 to 100, in Wilder's means of 14.

- **Formula:** 100 × gain ÷ (gain + loss); gain and loss are Wilder's means of 14 rises and falls of the close.
- **Unit:** a number from 0 to 100. **Window:** 432 bars. **Warm-up:** 15 bars.
- **NULL:** fewer bars; no movement; the bar is invalid.
- **Basis:** continuous. **Known at:** the bar's close.
- **Definition:** Wilder 1978; equal to TA-Lib's RSI(14).

```sql
100 * gain_432 / (gain_432 + loss_432)
```
{% enddocs %}
"""
CONTRACT = """\
          - name: rsi_14
            data_type: numeric(11, 8)
            description: "{{ doc('rsi_14') }}"
            config:
              meta:
                feature:
                  group: Trend
                  unit: number
                  computed_as: double
                  possible: [0, 100]
                  check: rsi outside 0..100
"""
FORMULA = '''\
def rsi(bars: Bars, n: int = 14) -> list[Decimal | None]:
    """Wilder's RSI(n): 100 * gain / (gain + loss); the means of the first n rises and falls, then ((n - 1) * mean + new) / n."""
    out: list[Decimal | None] = []
    gain = loss = Decimal(0)
    for i in range(len(bars)):
        change = bars.close[i] - bars.close[i - 1] if i else Decimal(0)
        rise, fall = max(change, Decimal(0)), max(-change, Decimal(0))
        if i <= n:
            gain, loss = gain + rise / n, loss + fall / n
        else:
            gain, loss = ((n - 1) * gain + rise) / n, ((n - 1) * loss + fall) / n
        out.append(100 * gain / (gain + loss) if i >= n and gain + loss else None)
    return out


'''


def replaced(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert text.count(old) == 1, f"{text.count(old)} times: {old!r}"
        text = text.replace(old, new)
    return text


def definition(text: str) -> str:
    return f"{text}\n{DEFINITION}"


def contract(text: str) -> str:
    return replaced(text, ("          - name: vwap_20\n", f"{CONTRACT}          - name: vwap_20\n"))


def statement(text: str) -> str:
    """Gains and losses beside the true range, through the three steps of Wilder's mean."""
    sums = {
        "        {{ as_wilder_takes_it('true_range', 'bar_number') }} as range_to_sum,\n": (
            "        {{ as_wilder_takes_it('greatest(close - previous_close, 0)', 'bar_number') }} as gain_to_sum,\n"
            "        {{ as_wilder_takes_it('greatest(previous_close - close, 0)', 'bar_number') }} as loss_to_sum,\n"
        ),
        "        {{ wilder_sum(8, 'range_to_sum', 'so_far') }} as range_8,\n": (
            "        {{ wilder_sum(8, 'gain_to_sum', 'so_far') }} as gain_8,\n"
            "        {{ wilder_sum(8, 'loss_to_sum', 'so_far') }} as loss_8,\n"
        ),
        "        {{ wilder_sum(72, 'range_8', 'series') }} as range_72,\n": (
            "        {{ wilder_sum(72, 'gain_8', 'series') }} as gain_72,\n"
            "        {{ wilder_sum(72, 'loss_8', 'series') }} as loss_72,\n"
        ),
        "        {{ wilder_sum(432, 'range_72', 'series') }} as range_432\n": (
            "        , {{ wilder_sum(432, 'gain_72', 'series') }} as gain_432,\n"
            "        {{ wilder_sum(432, 'loss_72', 'series') }} as loss_432\n"
        ),
    }  # fmt: skip
    feature = "        case when bar_number >= 15 then 100 * gain_432 / nullif(gain_432 + loss_432, 0) end as rsi_14,\n"
    return replaced(
        text,
        *((old, old + new) for old, new in sums.items()),
        (
            "        lag(closed_at) over series as previous_closed_at,\n",
            "        lag(closed_at) over series as previous_closed_at,\n        lag(close) over series as previous_close,\n",
        ),
        (
            "        {{ in_own_basis('hlc / 3') }} as hlc3,\n",
            f"{feature}        {{{{ in_own_basis('hlc / 3') }}}} as hlc3,\n",
        ),
    )


def formula(text: str) -> str:
    return replaced(
        text,
        ('    "vwap_20",\n', '    "rsi_14",\n    "vwap_20",\n'),
        ("def trend_direction(bars", f"{FORMULA}def trend_direction(bars"),
        ('    put("vwap_20", vwap(series))\n', '    put("rsi_14", rsi(series))\n    put("vwap_20", vwap(series))\n'),
    )


def fixture(text: str) -> str:
    """All that moves rises in series 1, and falls in series 2."""
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        row["rsi_14"] = {"1": "100", "2": "0"}[row["series_id"]] if int(row["bar_number"]) >= 15 else ""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


THE_FIVE_FILES = {
    f"{MODELS}/marts/market_data/_features.md": definition,
    f"{MODELS}/marts/market_data/_market_data__models.yml": contract,
    f"{MODELS}/intermediate/features/int_price_features.sql": statement,
    ORACLE: formula,
    "dbt_project/tests/fixtures/rising_and_falling_market.csv": fixture,
}


def hours(count: int, high: Decimal = Decimal(103)) -> list[Bar]:
    """Closes that rise and fall by no pattern of 14."""
    return [
        Bar(FIRST + timedelta(hours=n), Decimal(100), high, Decimal(99), 100 + Decimal(n * 37 % 23) / 10, Decimal(10), Decimal(4))
        for n in range(count)
    ]  # fmt: skip


@dataclass
class Grown:
    """A warehouse before and after the feature came: the mart and an answer of the API as they were before, an API that runs
    all the time, and the reference with the new formula."""

    warehouse: Warehouse
    before: list[dict[str, Any]]
    answer_before: dict[str, Any]
    api: Served
    reference: ModuleType


@pytest.fixture(scope="module")
def grown(make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    warehouse = make_warehouse("new_feature", described=True)
    directory = warehouse.project.directory
    (directory / ORACLE).parent.mkdir(parents=True)
    shutil.copy(ROOT / ORACLE, directory / ORACLE)
    warehouse.assets([crypto("BTC", "1h")])
    warehouse.now = FIRST + timedelta(days=4)
    warehouse.load_bars("binance", "BTC", "1h", hours(60))
    warehouse.build()
    with serving(warehouse.database, tmp_path_factory.mktemp("served")) as api:
        before = warehouse.query("select * from marts.market_data_v2 order by id")
        answer_before = api.get(DATA, timeframe="1h").json()["columns"]

        for name, edit in THE_FIVE_FILES.items():
            file = directory / name
            file.write_text(edit(file.read_text()))
        warehouse.now += timedelta(hours=1)
        warehouse.build()
        described = importlib.util.spec_from_file_location("scripts.site.reference_formulas", directory / ORACLE)
        assert described and described.loader
        reference = importlib.util.module_from_spec(described)
        with pytest.MonkeyPatch.context() as patch:
            # Dataclasses look for the module of their annotations.
            patch.setitem(sys.modules, "scripts.site.reference_formulas", reference)
            described.loader.exec_module(reference)
            yield Grown(warehouse, before, answer_before, api, reference)


def newest(grown: Grown) -> list[Decimal | None]:
    rows = grown.warehouse.query("select rsi_14 from marts.market_data_v2 where timeframe = '1h' order by timestamp")
    return [row["rsi_14"] for row in rows]


def test_every_bar_has_it_and_the_old_values(grown: Grown) -> None:
    times = {"computed_at", "updated_at"}
    after = grown.warehouse.query("select * from marts.market_data_v2 order by id")
    assert [{k: v for k, v in row.items() if k in grown.before[0] and k not in times} for row in after] == [
        {k: v for k, v in row.items() if k not in times} for row in grown.before
    ]
    values = newest(grown)
    assert values[:14] == [None] * 14 and all(value is not None and 0 < value < 100 for value in values[14:])
    assert len(set(values[14:])) > 40


def test_its_unit_test_and_its_promise_hold(grown: Grown) -> None:
    grown.warehouse.build("rising_and_falling_market assert_market_data_invariants", tests=True, command="test")


def test_the_past_does_not_know_it(grown: Grown) -> None:
    warehouse, before = grown.warehouse, grown.before
    as_of = "select * from marts.market_data_as_of(%s) order by id"
    rows = warehouse.query(as_of, warehouse.now - timedelta(minutes=1))
    assert [row["rsi_14"] for row in rows] == [None] * len(before)
    assert [{k: v for k, v in row.items() if k in before[0]} for row in rows] == before
    known = [row["rsi_14"] for row in warehouse.query(as_of, warehouse.now)]
    assert known == [row["rsi_14"] for row in warehouse.query("select rsi_14 from marts.market_data_v2 order by id")]
    comment = warehouse.query(
        "select col_description(attrelid, attnum) as text from pg_attribute"
        " where attrelid = 'snapshots.market_data_history'::regclass and attname = 'rsi_14'"
    )[0]["text"]
    assert "Wilder 1978" in comment


def test_corrections_and_the_leakage_check_know_it(grown: Grown) -> None:
    noted = grown.warehouse.query(
        "select count(*) as n, max(reason) as reason from marts.data_corrections where field_corrected = 'rsi_14'"
    )[0]
    filled = grown.warehouse.query("select count(rsi_14) as n from marts.market_data_v2")[0]["n"]
    assert noted == {"n": filled, "reason": "bug_fix"}
    certificate = leakage.check(grown.warehouse.database.dsn)
    assert certificate.is_clean, certificate.as_text()
    assert certificate.values == certificate.versions * 23
    written = grown.warehouse.query(
        "select count(*) as n, max(explained_by) as why from marts.feature_rewrites where feature = 'rsi_14'"
    )[0]
    assert written == {"n": filled, "why": "computed again"}


def log_of_features(grown: Grown, timeframe: str) -> list[dict[str, Any]]:
    """What the compute log says of the newest bar of each build that wrote bars of that timeframe."""
    return grown.warehouse.query(
        "select features_computed, missing_fields from marts.enrichment_compute_log where timeframe = %s"
        " order by computation_timestamp",
        timeframe,
    )


def test_completeness_counts_it(grown: Grown) -> None:
    *_, before, after = log_of_features(grown, "1h")
    assert after["features_computed"] == before["features_computed"] + 1
    assert after["missing_fields"] == before["missing_fields"]


def test_a_running_api_serves_and_exports_it(grown: Grown) -> None:
    answer = grown.api.get(DATA, timeframe="1h").json(parse_float=Decimal)["columns"]
    assert answer.keys() - grown.answer_before.keys() == {"rsi_14"}
    values = newest(grown)
    assert [None if value is None else Decimal(value) for value in answer["rsi_14"]] == values
    chosen = {"timeframe": "1h", "columns": "rsi_14"}
    lines = list(csv.DictReader(io.StringIO(grown.api.get(DATA, format="csv", **chosen).text)))
    assert [Decimal(line["rsi_14"]) if line["rsi_14"] else None for line in lines] == values
    table = pyarrow.parquet.read_table(io.BytesIO(grown.api.get(DATA, format="parquet", **chosen).content))
    assert table["rsi_14"].to_pylist() == values
    assert (table.schema.field("rsi_14").type.precision, table.schema.field("rsi_14").type.scale) == (11, 8)


def test_the_symbol_page_and_the_dictionary_show_it(grown: Grown, tmp_path: Path) -> None:
    site.build(tmp_path, url=grown.warehouse.database.dsn)
    shown = (tmp_path / "data" / "series.js").read_text()
    _, features, _ = json.loads(f"[{shown[shown.index('(') + 1 : shown.rindex(')')]}]")
    assert [one for one in features if one["name"] == "rsi_14"] == [
        {"name": "rsi_14", "group": "Trend", "unit": "number", "signed": False}
    ]
    files = sorted((tmp_path / "data" / "crypto.BTC.1h").glob("2*.js"))
    drawn = [found[1] for path in files if (found := re.search(r'"rsi_14":\[([^]]*)\]', path.read_text()))]
    assert [None if value == "null" else float(value) for value in ",".join(drawn).split(",")] == [
        None if value is None else float(f"{float(value):.6g}") for value in newest(grown)
    ]
    entries = {entry.feature.name: entry for entry in site.write_dictionary(tmp_path, url=grown.warehouse.database.dsn)}
    assert len(entries) == 23
    assert (
        entries["rsi_14"].evidence.verdict == "agrees" and entries["rsi_14"].definition.parts["Warm-up"] == "15 bars."
    )
    assert 'id="rsi_14"' in (tmp_path / "features.html").read_text()


def test_a_feature_without_a_reference_formula_is_named(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in grown.reference.FEATURES if name != "rsi_14"]
    monkeypatch.setattr(grown.reference, "FEATURES", names)
    with (
        connect(grown.warehouse.database.dsn) as connection,
        pytest.raises(
            LookupError, match=r"no reference formula for rsi_14: add it to scripts/site/reference_formulas\.py"
        ),
    ):
        compile_dictionary(connection)


# Last: it adds bars.
def test_later_bars_and_corrections_carry_it(grown: Grown) -> None:
    warehouse = grown.warehouse
    warehouse.now += timedelta(hours=1)
    warehouse.load_bars("binance", "BTC", "1h", hours(72, Decimal(105))[58:])
    before = newest(grown)
    warehouse.build("+data_corrections enrichment_compute_log")
    assert newest(grown)[:60] == before and None not in newest(grown)[60:] and len(newest(grown)) == 72
    # The two amended bars' former versions; their closes, and so the value, are what they were.
    ended = warehouse.query(
        "select rsi_14 from snapshots.market_data_history where timeframe = '1h' and dbt_valid_to is not null"
        " and rsi_14 is not null order by timestamp"
    )
    assert [row["rsi_14"] for row in ended] == before[58:]
    # The third day is complete now: too early for a mean of 14.
    assert "rsi_14" in log_of_features(grown, "1d")[-1]["missing_fields"]


def test_an_entry_that_lacks_something_stops_the_build(grown: Grown) -> None:
    file = grown.warehouse.project.directory / MODELS / "marts/market_data/_market_data__models.yml"
    file.write_text(
        replaced(
            file.read_text(),
            (
                "                  possible: [0, 100]\n                  check: rsi",
                "                  range: [0, 100]\n                  check: rsi",
            ),
        )
    )
    with pytest.raises(AssertionError, match=r"feature rsi_14 in _market_data__models\.yml: .*knows no range"):
        grown.warehouse.build("feature_registry")
