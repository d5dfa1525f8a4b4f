"""Binance over HTTP: klines, limits, errors, futures data, archive."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import re
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.simulator import running
from tests.simulator_tests.conftest import Web

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_362_189_600_000  # the demo's clock, 2013-03-02T02:00Z
KLINES = "/binance-spot/api/v3/klines"
FUTURES = "/binance-futures"


def klines(web: Web, query: str, host: str = KLINES) -> list[list[Any]]:
    return web.json(f"{host}?symbol=BTCUSDT&{query}")


def test_a_kline_has_twelve_fields_as_the_exchange_types_them(demo: Web) -> None:
    row = klines(demo, f"interval=1h&limit=1&startTime={NOW - DAY}")[0]
    assert [type(cell) for cell in row] == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert row[0] == NOW - DAY and row[6] == row[0] + HOUR - 1 and row[11] == "0"
    assert all(len(row[i].split(".")[1]) == 8 for i in (1, 2, 3, 4, 5, 7, 9, 10))
    assert Decimal(row[9]) <= Decimal(row[5])


def test_start_end_and_limit_choose_rows_as_documented(demo: Web) -> None:
    start = NOW - 10 * DAY
    opens = [row[0] for row in klines(demo, f"interval=1h&limit=3&startTime={start}")]
    assert opens == [start, start + HOUR, start + 2 * HOUR]  # from the start on
    assert [row[0] for row in klines(demo, f"interval=1h&limit=2&endTime={start}")] == [start - HOUR, start]
    both = klines(demo, f"interval=1h&startTime={start}&endTime={start + 2 * HOUR}")
    assert [row[0] for row in both] == opens  # both ends inclusive
    assert len(klines(demo, f"interval=5m&startTime={start}")) == 500
    assert len(klines(demo, f"interval=5m&startTime={start}&limit=5000")) == 1000
    assert klines(demo, f"interval=1h&startTime={NOW + DAY}") == []
    assert len(klines(demo, "interval=5m&limit=5000", f"{FUTURES}/fapi/v1/klines")) == 1500


def test_the_last_row_is_the_candle_that_is_still_open(own: Web) -> None:
    own.simulator.set_clock("2013-03-02T02:20:00Z")
    rows = klines(own, "interval=1h&limit=2")
    fine = klines(own, f"interval=5m&startTime={NOW}")
    assert rows[-1][0] == NOW and rows[-1][6] > NOW + 20 * 60_000
    assert Decimal(rows[-1][5]) == sum(Decimal(row[5]) for row in fine) and len(fine) == 4
    own.simulator.set_clock("2013-03-02T03:20:00Z")
    assert Decimal(klines(own, f"interval=1h&limit=1&startTime={NOW}")[0][5]) > Decimal(rows[-1][5])


def test_coarser_klines_aggregate_finer_ones_exactly(demo: Web) -> None:
    days = klines(demo, f"interval=1d&startTime={NOW - 20 * DAY}&limit=15")
    for day in days:
        hours = klines(demo, f"interval=1h&startTime={day[0]}&endTime={day[6]}")
        assert len(hours) == 24
        assert (day[1], day[4]) == (hours[0][1], hours[-1][4])
        assert Decimal(day[2]) == max(Decimal(h[2]) for h in hours)
        for field in (5, 7, 8, 9, 10):
            assert Decimal(day[field]) == sum(Decimal(h[field]) for h in hours)


def test_weeks_start_on_monday_and_months_on_the_first(demo: Web) -> None:
    for interval, start in (("1w", "2013-02-25"), ("1M", "2013-03-01")):
        row = klines(demo, f"interval={interval}&limit=1")[0]
        assert dt.datetime.fromtimestamp(row[0] / 1000, dt.UTC).date().isoformat() == start
    january = klines(demo, f"interval=1M&startTime={NOW - 62 * DAY}&limit=1")[0]
    assert january[6] - january[0] == 31 * DAY - 1


def test_microseconds_on_request(demo: Web) -> None:
    plain = klines(demo, "interval=1h&limit=2")
    micro = demo.json(f"{KLINES}?symbol=BTCUSDT&interval=1h&limit=2", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
    assert [row[0] for row in micro] == [row[0] * 1000 for row in plain]
    assert micro[0][6] == plain[0][6] * 1000 + 999
    again = demo.json(
        f"{KLINES}?symbol=BTCUSDT&interval=1h&limit=1&startTime={micro[0][0]}",
        headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
    )
    assert again == micro[:1]


@pytest.mark.parametrize(
    ("query", "code"),
    [("symbol=NOPE&interval=1h", -1121), ("symbol=BTCUSDT&interval=7h", -1120), ("interval=1h", -1102)],
)
def test_errors_have_code_and_text(demo: Web, query: str, code: int) -> None:
    answer = demo.get(f"{KLINES}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_exchange_info_is_filtered_and_marked(demo: Web) -> None:
    info = demo.json('/binance-spot/api/v3/exchangeInfo?symbols=["BTCUSDT","ETHUSDT"]')
    assert [symbol["symbol"] for symbol in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert "synthetic" in info["symbols"][0]["description"]
    assert info["rateLimits"][0]["limit"] == 6000
    assert demo.get("/binance-spot/api/v3/exchangeInfo?symbol=NOPE").json()["code"] == -1121
    assert demo.json("/binance-spot/api/v3/ping") == {}
    assert demo.json("/binance-spot/api/v3/time") == {"serverTime": NOW}
    assert demo.json(f"{FUTURES}/fapi/v1/exchangeInfo")["symbols"][0]["contractType"] == "PERPETUAL"


def test_weight_is_counted_then_refused_then_punished(own: Web) -> None:
    """REQUEST_WEIGHT 6000 a minute; exchangeInfo weighs 20. A minute may end while this runs: hence no exact count."""
    first = own.get("/binance-spot/api/v3/ping")
    assert first.headers["x-mbx-used-weight-1m"] == "1"
    seen = []
    for _ in range(1500):
        answer = own.get("/binance-spot/api/v3/exchangeInfo?symbol=BTCUSDT")
        seen.append(answer.status_code)
        if answer.status_code == 418:
            break
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 61
            assert answer.json()["code"] == -1003
    assert seen[-1] == 418 and 429 in seen
    assert int(answer.headers["Retry-After"]) > 60
    assert own.get("/binance-data-api/api/v3/ping").status_code == 200  # another host has a budget of its own
    own.simulator.clear_budgets()
    assert own.get("/binance-spot/api/v3/ping").headers["x-mbx-used-weight-1m"] == "1", "as if nobody had asked"


def test_the_data_host_answers_where_the_main_host_is_blocked(own: Web) -> None:
    own.simulator.add_fault(kind="status", status=451, provider="binance-spot")
    blocked = own.get(f"{KLINES}?symbol=BTCUSDT&interval=1h")
    assert (blocked.status_code, blocked.json()["code"]) == (451, 0)
    assert "restricted location" in blocked.json()["msg"]
    mirrored = klines(own, "interval=1h&limit=3", "/binance-data-api/api/v3/klines")
    own.simulator.clear_faults()
    assert klines(own, "interval=1h&limit=3") == mirrored


def test_funding_jitters_and_follows_each_symbols_interval(demo: Web) -> None:
    rows = demo.json(f"{FUTURES}/fapi/v1/fundingRate?symbol=BTCUSDT&startTime={NOW - 200 * DAY}&limit=600")
    assert len(rows) == 600
    late = [row["fundingTime"] % (8 * HOUR) for row in rows]
    assert max(late) <= 47 and 0.3 < sum(1 for ms in late if ms) / len(late) < 0.6
    assert any(row["fundingRate"].startswith("-") for row in rows)
    assert {row["markPrice"] for row in rows} == {""}  # none before 2023-10-31
    newest = demo.json(f"{FUTURES}/fapi/v1/fundingRate?symbol=SOLUSDT&limit=3")
    steps = [b["fundingTime"] // HOUR - a["fundingTime"] // HOUR for a, b in zip(newest, newest[1:], strict=False)]
    assert steps == [4, 4] and newest[-1]["fundingTime"] <= NOW
    info = {row["symbol"]: row["fundingIntervalHours"] for row in demo.json(f"{FUTURES}/fapi/v1/fundingInfo")}
    assert info == {"BTCUSDT": 8, "ETHUSDT": 8, "SOLUSDT": 4}
    assert "x-mbx-used-weight-1m" not in demo.get(f"{FUTURES}/fapi/v1/fundingRate?symbol=BTCUSDT").headers


def test_mark_prices_come_with_funding_since_october_2023() -> None:
    with running("synthetic", "2023-11-02T00:00:00Z") as simulator:
        rows = Web(simulator).json(f"{FUTURES}/fapi/v1/fundingRate?symbol=BTCUSDT&limit=12")
    assert [bool(row["markPrice"]) for row in rows] == [row["fundingTime"] >= 1_698_739_200_000 for row in rows]
    assert not rows[0]["markPrice"] and rows[-1]["markPrice"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("openInterestHist", {"symbol", "sumOpenInterest", "sumOpenInterestValue", "timestamp"}),
        ("globalLongShortAccountRatio", {"symbol", "longShortRatio", "longAccount", "shortAccount", "timestamp"}),
        ("topLongShortAccountRatio", {"symbol", "longShortRatio", "longAccount", "shortAccount", "timestamp"}),
        ("topLongShortPositionRatio", {"symbol", "longShortRatio", "longAccount", "shortAccount", "timestamp"}),
        ("takerlongshortRatio", {"buySellRatio", "buyVol", "sellVol", "timestamp"}),
    ],
)
def test_futures_data_reaches_thirty_days_back(demo: Web, name: str, fields: set[str]) -> None:
    path = f"{FUTURES}/futures/data/{name}?symbol=ETHUSDT"
    rows = demo.json(f"{path}&period=5m&startTime={NOW - 29 * DAY}&limit=500")
    assert [row["timestamp"] for row in rows] == [NOW - 29 * DAY + i * 300_000 for i in range(500)]
    assert set(rows[0]) == fields
    assert len(demo.json(f"{path}&period=1h")) == 30
    refused = demo.get(f"{path}&period=1h&startTime={NOW - 31 * DAY}")
    assert (refused.status_code, refused.json()["code"]) == (400, -1130)
    assert demo.get(f"{path}&period=7m").json()["code"] == -1130


def test_open_interest_now_and_ratios_agree_with_themselves(demo: Web) -> None:
    now = demo.json(f"{FUTURES}/fapi/v1/openInterest?symbol=BTCUSDT")
    history = demo.json(f"{FUTURES}/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=1")[0]
    assert Decimal(now["openInterest"]) == Decimal(history["sumOpenInterest"]) and now["time"] == NOW
    ratio = demo.json(f"{FUTURES}/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=5m&limit=1")[0]
    assert Decimal(ratio["longAccount"]) + Decimal(ratio["shortAccount"]) == 1
    taker = demo.json(f"{FUTURES}/futures/data/takerlongshortRatio?symbol=BTCUSDT&period=1h&limit=1")[0]
    hour = klines(demo, f"interval=1h&startTime={taker['timestamp']}&limit=1", f"{FUTURES}/fapi/v1/klines")[0]
    assert abs(Decimal(taker["buyVol"]) - Decimal(hour[9])) < Decimal("0.0001")
    assert demo.json(f"{FUTURES}/fapi/v1/premiumIndex?symbol=BTCUSDT")["nextFundingTime"] == NOW + 6 * HOUR
    assert len(demo.json(f"{FUTURES}/fapi/v1/premiumIndex")) == 3


def archived(web: Web, path: str) -> list[list[str]]:
    packed = web.get(f"/binance-archive/data/{path}.zip")
    assert packed.status_code == 200, packed.text
    name = path.rsplit("/", 1)[1]
    checksum = web.get(f"/binance-archive/data/{path}.zip.CHECKSUM").text
    assert checksum == f"{hashlib.sha256(packed.content).hexdigest()}  {name}.zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.namelist() == [f"{name}.csv"]
        return list(csv.reader(io.StringIO(archive.read(f"{name}.csv").decode())))


def test_archived_spot_klines_have_no_header_and_equal_rest(demo: Web) -> None:
    rows = archived(demo, "spot/daily/klines/BTCUSDT/5m/BTCUSDT-5m-2013-02-27")
    rest = klines(demo, f"interval=5m&startTime={rows[0][0]}&limit=288")
    assert rows == [[str(cell) for cell in row] for row in rest]


def test_archived_futures_klines_have_a_header(demo: Web) -> None:
    rows = archived(demo, "futures/um/monthly/klines/SOLUSDT/1d/SOLUSDT-1d-2013-01")
    assert rows[0][:3] == ["open_time", "open", "high"] and len(rows) == 32


def test_archived_spot_turns_to_microseconds_in_2025() -> None:
    with running("synthetic", "2025-03-01T00:00:00Z") as simulator:
        web = Web(simulator)
        before = archived(web, "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-31")
        after = archived(web, "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-01")
        futures = archived(web, "futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-01")
    assert (len(before[0][0]), len(after[0][0]), len(futures[1][0])) == (13, 16, 13)
    assert after[0][6].endswith("999999")


def test_files_appear_the_next_day_and_the_first_monday(own: Web) -> None:
    daily = "/binance-archive/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2013-03-02.zip"
    monthly = "/binance-archive/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2013-02.zip"
    missing = own.get(daily)
    assert missing.status_code == 404 and "NoSuchKey" in missing.text and own.get(monthly).status_code == 404
    assert own.get(f"{daily}.CHECKSUM").status_code == 404
    own.simulator.set_clock("2013-03-03T12:00:00Z")
    assert (own.get(daily).status_code, own.get(monthly).status_code) == (200, 404)
    own.simulator.set_clock("2013-03-04T12:00:00Z")  # a Monday
    assert own.get(monthly).status_code == 200


def test_the_archive_lists_its_files(demo: Web) -> None:
    prefix = "data/spot/daily/klines/BTCUSDT/1h/"
    keys: list[str] = []
    text, marker = "<IsTruncated>true", ""
    while "<IsTruncated>true" in text:
        text = demo.get(f"/binance-archive/?prefix={prefix}&marker={marker}").text
        page = re.findall(r"<Key>([^<]+)</Key>", text)
        assert len(page) <= 1000
        keys += page
        marker = keys[-1]
    files = [key for key in keys if key.endswith(".zip")]
    assert (files[0], files[-1]) == (f"{prefix}BTCUSDT-1h-2010-01-01.zip", f"{prefix}BTCUSDT-1h-2013-03-01.zip")
    assert (
        len(keys) == 2 * len(files) == len(set(keys)) and demo.get(f"/binance-archive/{files[-1]}").status_code == 200
    )
    assert "<Key>" not in demo.get("/binance-archive/?prefix=data/spot/daily/klines/NOPE/1h/").text


def test_an_amended_file_has_a_new_checksum(own: Web) -> None:
    path = "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2013-02-27"
    before = archived(own, path)
    own.simulator.add_fault(
        kind="amended",
        provider="binance-archive",
        endpoint="bars",
        start="2013-02-27T05:00",
        field="volume",
        factor="2",
    )
    after = archived(own, path)
    assert Decimal(after[5][5]) == 2 * Decimal(before[5][5])
    assert [row for i, row in enumerate(after) if i != 5] == [row for i, row in enumerate(before) if i != 5]


def test_metrics_files_change_their_first_row_in_march_2024() -> None:
    with running("synthetic", "2024-04-01T00:00:00Z") as simulator:
        web = Web(simulator)
        old = archived(web, "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-03-03")
        new = archived(web, "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-03-04")
        empty = archived(web, "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2022-03-04")
    assert (old[1][0], old[-1][0]) == ("2024-03-03 00:00:00", "2024-03-03 23:55:00")
    assert (new[1][0], new[-1][0]) == ("2024-03-04 00:05:00", "2024-03-05 00:00:00")
    assert len(old) == len(new) == 289 and empty[1][4:] == [""] * 4


def test_labels_of_samples_become_the_starts_of_periods_in_june_2026() -> None:
    """The same label, 2026-06-25 00:00, ends one file and begins the next, five minutes apart."""
    with running("synthetic", "2026-06-28T00:00:00Z") as simulator:
        web = Web(simulator)
        old, new = (
            archived(web, f"futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-06-{day}") for day in (24, 25)
        )
        path = f"{FUTURES}/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=500"
        history = web.json(f"{path}&startTime=1782345600000&endTime=1782431999999")
        newest = web.json(path)[-1]
    assert old[-1][0] == new[1][0] == "2026-06-25 00:00:00" and new[-1][0] == "2026-06-25 23:55:00"
    assert old[-1][2] != new[1][2]
    assert [Decimal(row[2]) for row in new[1:]] == [Decimal(row["sumOpenInterest"]) for row in history]
    assert newest["timestamp"] == 1782604500000, "2026-06-27 23:55, taken at midnight"


def test_archived_funding_and_metrics_equal_rest(demo: Web) -> None:
    funding = archived(demo, "futures/um/monthly/fundingRate/SOLUSDT/SOLUSDT-fundingRate-2013-01")
    rest = demo.json(f"{FUTURES}/fapi/v1/fundingRate?symbol=SOLUSDT&startTime={funding[1][0]}&limit={len(funding) - 1}")
    assert funding[0] == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    assert [[r[0], r[2]] for r in funding[1:]] == [[str(r["fundingTime"]), r["fundingRate"]] for r in rest]
    metrics = archived(demo, "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2013-02-27")
    stamp = dt.datetime.fromisoformat(metrics[1][0]).replace(tzinfo=dt.UTC)
    path = f"{FUTURES}/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=288"
    history = demo.json(f"{path}&startTime={int(stamp.timestamp() * 1000)}")
    assert [Decimal(row[2]) for row in metrics[1:]] == [Decimal(row["sumOpenInterest"]) for row in history]


def test_recorded_archives_come_back_byte_for_byte(recorded: Web, shared_data: Path) -> None:
    original = shared_data / "binance/vision_spot_1m_lostleaf/BTCUSDT-1m-2020-01-01.zip"
    path = "/binance-archive/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip"
    assert recorded.get(path).content == original.read_bytes()
    assert recorded.get(f"{path}.CHECKSUM").content == original.with_suffix(".zip.CHECKSUM").read_bytes()
    rows = archived(recorded, "futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-07")
    text = (shared_data / "binance/um_klines_flukedev/BTCUSDT_1h.csv").read_text()
    assert rows == list(csv.reader(io.StringIO(text)))
