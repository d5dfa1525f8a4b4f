"""`market quarantine LOAD`: after the next build the warehouse holds what it would hold had that load never come; lifted,
it holds again what it held.

Data flow: the same answers in two warehouses, one without the bad load -> quarantine in the first -> equal, every model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from extract.core import clock, database
from extract.core.settings import ConfigurationError
from scripts.corrections import quarantine
from scripts.reading import leakage
from tests import payloads
from tests.dbt.test_bars import run_of, stock_bars
from tests.dbt.test_incremental_equals_full import COMPARED, Rows, _difference, rows_of
from tests.warehouse import Answer, MakeWarehouse, Warehouse, bar_answer, crypto, stock

START = datetime(2025, 3, 3, tzinfo=UTC)
HOURS = run_of(START, 96, "1h")
DAYS = stock_bars("1d", date(2025, 1, 2), date(2025, 3, 7))
EX_DATE = date(2025, 2, 3)
BUILT = (
    "+market_data_v2 +rejected_bars +unfinished_bars +source_reconciliation +corporate_actions +bar_gaps"
    " +enrichment_fetch_log +data_corrections +feature_rewrites +int_liquidation_coverage +rejected_rows"
)
COMPARED_TOO = {
    **COMPARED,
    "marts.corporate_actions": "symbol, kind, ex_date, source",
    "intermediate.int_liquidations": "symbol, traded_at, side",
    "marts.rejected_rows": "source, kind, symbol, timestamp",
    "intermediate.int_action_observations": "source, kind, ticker, ex_date, observation_no",
}
# Under which number a load is known differs where one was never there.
OWN = ("id", "created_at", "batch", "updated_at")
BAD, REPEATED = "1700000900.100000", "1700000901.100000"


def window(first: int, last: int) -> tuple[datetime, datetime]:
    return START + timedelta(hours=first), START + timedelta(hours=last)


def samples(first: int, last: int, factor: int = 1) -> list[Answer]:
    """What the exchange says beside the bars of some hours: everything `factor` times too high."""
    at = [START + timedelta(hours=hour) for hour in range(first, last)]
    settled = [moment for moment in at if moment.hour % 8 == 0]
    rates = [(moment, Decimal((moment.hour + 1) * factor) / 100000) for moment in settled]
    orders = [(moment + timedelta(minutes=7), "SELL", Decimal(factor)) for moment in at]
    hours = window(first, last)
    return [
        Answer("funding", "BTC", payloads.funding(rates), window=hours),
        Answer("open_interest", "BTC", payloads.open_interest([(m, Decimal(1000 * factor)) for m in at]), "1h", hours),
        Answer("liquidations", "BTC", payloads.liquidations(orders), window=hours, origin="stream"),
    ]


def bad_answers() -> list[Answer]:
    """Wrong in every way that is still a good answer: prices, bars that are none, bars missing, samples."""
    wrong = [replace(bar, high=bar.high * 3, close=bar.close * 2) for bar in HOURS[20:40]]
    del wrong[7]
    off = replace(HOURS[41], timestamp=HOURS[41].timestamp + timedelta(minutes=13))
    return [
        bar_answer("binance", "BTC", "1h", [*wrong, off], window=window(20, 42)),
        # Days of which no other load knows.
        bar_answer("binance", "BTC", "1h", HOURS[90:96], window=window(90, 96)),
        *samples(20, 40, factor=50),
    ]


def load_all(warehouse: Warehouse, with_the_bad_one: bool) -> None:
    """Build after each load. The bad one is followed by an answer that repeats it, and by good news on its hours."""
    warehouse.now = datetime(2025, 3, 8, tzinfo=UTC)
    warehouse.assets([crypto("BTC", "1h"), stock("AAPL", "1d")])
    warehouse.load("binance", bar_answer("binance", "BTC", "1h", HOURS[:60], window=window(0, 60)), *samples(0, 60))
    warehouse.load("yahoo", bar_answer("yahoo", "BTC", "1h", HOURS[10:50], window=window(10, 50)))
    warehouse.load("polygon", bar_answer("polygon", "AAPL", "1d", DAYS))
    warehouse.build(BUILT)
    if with_the_bad_one:
        warehouse.load("binance", *bad_answers(), load_id=BAD)
        repeated = replace(
            bad_answers()[0], payload=None, status="unchanged", values={"payload_sha": sha_of(warehouse, BAD)}
        )
        warehouse.load("binance", repeated, load_id=REPEATED)
        warehouse.build(BUILT)
    warehouse.load("binance", bar_answer("binance", "BTC", "1h", HOURS[30:88], window=window(30, 88)), *samples(30, 88))
    warehouse.build(BUILT)


def sha_of(warehouse: Warehouse, load_id: str) -> str:
    """The digest of the load's first answer with bars."""
    (row,) = warehouse.query(
        "select payload_sha from raw_binance.responses where _dlt_load_id = %s and endpoint = 'bars'"
        " order by window_start limit 1",
        load_id,
    )
    return str(row["payload_sha"])


def held(warehouse: Warehouse) -> dict[str, Rows]:
    return {relation: rows_of(warehouse, relation) for relation in COMPARED_TOO}


def assert_same(ours: dict[str, Rows], theirs: dict[str, Rows], ignoring: tuple[str, ...] = ()) -> None:
    for relation, key in COMPARED_TOO.items():
        one, other = (
            type(rows)({tuple(pair for pair in row if pair[0] not in ignoring): n for row, n in rows.items()})
            for rows in (ours[relation], theirs[relation])
        )
        assert one == other, f"{relation}\n{_difference(one - other, other - one, key)}"


@contextmanager
def command(warehouse: Warehouse, at: datetime) -> Iterator[None]:
    """As a user's shell stands: `market` and this warehouse, the clock at `at`."""
    from tests.extract.conftest import forget

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(warehouse.project.directory)
        for name, value in warehouse.database.environment.items():
            patch.setenv(name, value)
        patch.setenv("WAREHOUSE_NOW", at.isoformat())
        forget()
        assert clock.now() == at
        yield
        database.pool().close()
    forget()


def test_a_quarantined_load_was_never_there_and_is_back_when_it_is_lifted(make_warehouse: MakeWarehouse) -> None:
    ours, clean = make_warehouse("warehouse"), make_warehouse("full")
    load_all(ours, with_the_bad_one=True)
    load_all(clean, with_the_bad_one=False)
    before, never = held(ours), held(clean)
    for relation in ("marts.market_data_v2", "intermediate.int_funding_rates", "intermediate.int_futures_samples",
                     "intermediate.int_liquidations", "marts.rejected_bars"):  # fmt: skip
        assert before[relation] != never[relation], f"the bad load shows nowhere in {relation}"

    with command(ours, ours.now + timedelta(hours=1)):
        told = quarantine.quarantine(BAD, "prices doubled", "ann")
        assert "BTC 1h" in told and "1 later answers" in told
        with pytest.raises(ConfigurationError, match="quarantined already"):
            quarantine.quarantine(BAD)
        assert [one.load_id for one in quarantine.listed()] == [BAD]
    ours.now += timedelta(hours=1)
    ours.build(BUILT)
    without = held(ours)
    assert_same(without, never)
    logged = ours.query("select status, count(*) as n from marts.enrichment_fetch_log group by status order by status")
    assert [(row["status"], row["n"]) for row in logged] == [("failed", 1), ("ok", 10)]
    corrected = ours.query(
        "select distinct reason, corrected_by from marts.data_corrections where correction_timestamp >= %s", ours.now
    )
    assert [(row["reason"], row["corrected_by"]) for row in corrected] == [("manual_correction", "ann")]
    ours.build(BUILT, full_refresh=True)
    assert_same(held(ours), without)

    with command(ours, ours.now):
        quarantine.lift(BAD, "they were right", "bob")
        with pytest.raises(ConfigurationError, match="is not quarantined"):
            quarantine.lift(BAD)
        assert quarantine.listed() == []
    ours.now += timedelta(hours=1)
    ours.build(BUILT)
    assert_same(held(ours), before)
    (row,) = ours.query("select count(*) as n from raw_binance.responses where status = 'unchanged' and error is null")
    assert row["n"] == 1
    with command(ours, ours.now):
        assert leakage.check().unexplained == 0
