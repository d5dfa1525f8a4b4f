"""The parsers of the providers' bodies: what is documented passes, anything else is named."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from extract.load import storable
from extract.load.responses import BadPayload, NoAnswer, Parsed, Task, sha256
from extract.providers.binance import archive
from extract.providers.binance import helpers as binance
from extract.providers.polygon import helpers as polygon
from extract.providers.yahoo import helpers as yahoo
from extract.transport import headers

BAR = {"v": 1, "vw": 1, "o": 1, "c": 1, "h": 1, "l": 1, "t": 1672531200000, "n": 1}
KLINE: list[Any] = [1672531200000, "1", "1", "1", "1", "1", 1672534799999, "1", 1, "1", "1", "0"]
HOUR = 3_600_000
OPENED = datetime(2023, 1, 1, tzinfo=UTC)
# One day of hours, and a year of days.
HOURS = Task("binance", "bars", OPENED, OPENED + timedelta(days=1), "BTC", "crypto", "BTCUSDT", "1h")
DAYS = replace(HOURS, source="polygon", provider_symbol="AAPL", timeframe="1d", end=OPENED + timedelta(days=365))


def at(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def body(**fields: object) -> bytes:
    return orjson.dumps({"status": "OK", "resultsCount": len(fields.get("results", [])), **fields})  # type: ignore[arg-type]


def bars(*times: int, **fields: object) -> bytes:
    return body(results=[{**BAR, "t": time} for time in times], **fields)


def klines(*times: int, length: int = HOUR) -> bytes:
    return orjson.dumps([[time, *KLINE[1:6], time + length - 1, *KLINE[7:]] for time in times])


def test_polygon_bars_have_the_same_digest_whatever_the_request_id() -> None:
    one, two = (polygon.bars(body(results=[BAR], request_id=name), DAYS) for name in "ab")
    assert one == two and one.row_count == 1 and one.first_at == one.last_at == OPENED
    assert polygon.bars(body(results=[{**BAR, "c": 2}]), DAYS).sha != one.sha


def test_bars_without_a_price_are_none_that_came() -> None:
    """What is newer than the newest bar with a price stays open; an answer without any is none."""
    odd: tuple[object, ...] = (None, "NaN", 0, -1, "", {}, True, "1e400", [1])
    for price in odd:
        days = [{**BAR, "t": at(OPENED) + n * 24 * HOUR, "c": 1 if n == 0 else price} for n in range(3)]
        assert polygon.bars(body(results=days), DAYS).last_at == OPENED
        hours = [
            [
                at(OPENED) + n * HOUR,
                *KLINE[1:4],
                "1" if n == 0 else price,
                "1",
                at(OPENED) + n * HOUR + HOUR - 1,
                *KLINE[7:],
            ]
            for n in range(3)
        ]
        assert binance.klines(orjson.dumps(hours), HOURS).last_at == OPENED
        charted = orjson.loads(chart([86_400, 2 * 86_400, 3 * 86_400]))
        close = charted["chart"]["result"][0]["indicators"]["quote"][0]["close"]
        close[1:] = [price, price]
        assert yahoo.chart(orjson.dumps(charted), MONTH, "1d").last_at == MONTH.start + timedelta(days=1)
        close[0] = price
        with pytest.raises(NoAnswer, match="no row of the answer has a price"):
            yahoo.chart(orjson.dumps(charted), MONTH, "1d")
        with pytest.raises(BadPayload, match="none of its 2 rows has a price"):
            polygon.bars(body(results=days[1:]), DAYS)
        with pytest.raises(BadPayload, match="none of its 2 rows has a price"):
            binance.klines(orjson.dumps(hours[1:]), HOURS)
    with pytest.raises(archive.BadFile, match="none of its 1 rows has a price"):
        unpacked(ROW.replace(",2,9,", ",NaN,9,"))


def test_a_chart_that_tells_a_split_which_cannot_be_read_is_no_answer() -> None:
    """Nobody could say whether, and by what, the prices before it are divided."""
    good: dict[str, Any] = {"date": 86_400, "numerator": 4, "denominator": 1, "splitRatio": "4:1"}
    charted = orjson.loads(chart([86_400]))
    result = charted["chart"]["result"][0]

    def read(splits: object, task: Task = MONTH) -> Parsed:
        result["events"] = {"splits": splits}
        return yahoo.chart(orjson.dumps(charted), task, "1d")

    for splits in (None, {}, [], {"a": good}, [good], {"a": {**good, "date": "86400", "numerator": "4.0"}}):
        assert read(splits).row_count == 1
    for bad in (
        {"numerator": None},
        {"denominator": 0},
        {"numerator": "x"},
        {"date": "1970-01-02"},
        {"date": None},
        {"numerator": 4e30, "denominator": 1e30},
        {"numerator": 20_000},
        {"numerator": 0.00001},
    ):
        with pytest.raises(BadPayload, match="it reports a split that cannot be read"):
            read({"a": good, "b": {**good, **bad}})
    with pytest.raises(BadPayload, match="it reports a split that cannot be read: soon"):
        read(["soon"])
    result["meta"]["exchangeTimezoneName"] = "UTC"
    assert read(["soon"], replace(COIN, provider_symbol="BTC-USD")).row_count == 1, "a coin has none"


def test_polygon_without_results_is_empty_and_a_delayed_answer_is_good() -> None:
    for nothing in ({"status": "OK", "resultsCount": 0}, {"status": "OK", "resultsCount": 0, "results": None}):
        empty = polygon.bars(orjson.dumps(nothing), DAYS)
        assert (empty.row_count, empty.first_at, empty.last_at) == (0, None, None)
    assert polygon.bars(body(status="DELAYED", results=[BAR]), DAYS).row_count == 1
    with pytest.raises(NoAnswer, match="unknown ticker"):
        polygon.bars(orjson.dumps({"status": "OK", "resultsCount": 0}), DAYS, may_be_empty=False)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"status":"ERROR"}',
        b'{"status":"OK","resultsCount":2}',
        b'{"status":"OK","resultsCount":2,"results":null}',
        body(results=[{"t": 1}]),
        body(results=[1]),
        b'{"status":"OK","resultsCount":1,"results":[{"t":NaN}]}',
        b'{"status":"OK","results":[{"t":"\\ud800"}]}',
        b'{"status":"OK","results":[{"t":"\xff"}]}',
        b'{"status":"OK","results":[{"t":1e400000}]}',
        b"[" * 5000,
    ],
)
def test_polygon_bodies_that_are_not_documented(bad: bytes) -> None:
    with pytest.raises(BadPayload):
        polygon.bars(bad, DAYS)


@pytest.mark.parametrize(
    ("answer", "task", "problem"),
    [
        (bars(at(OPENED), ticker="MSFT"), DAYS, "asked for symbol AAPL, got 'MSFT'"),
        (bars(at(OPENED), ticker="AAPL", adjusted=True), DAYS, "adjusted=false"),
        (bars(at(OPENED), ticker="AAPL", adjusted="true"), DAYS, "adjusted=false"),
        (bars(at(OPENED), ticker="AAPL", adjusted=1), DAYS, "adjusted=false"),
        (bars(at(OPENED) + 21 * HOUR), replace(DAYS, asset_class="stock"), "1d bars, got bars that begin at 21:00 UTC"),
        (bars(at(OPENED), at(OPENED) + 24 * HOUR), replace(DAYS, asset_class="stock"), "begin at 00:00 UTC"),
        (body(results=[{**BAR, "t": "2023-01-01"}, {**BAR, "t": 10**18}]), DAYS, "none of its 2 rows has a time stamp"),
        (bars(*(at(OPENED) - day * 24 * HOUR for day in range(1, 9))), DAYS, "8 rows from 2022-12-24 00:00 to"),
        (bars(*(at(OPENED) + hour * HOUR for hour in range(24))), DAYS, "asked for 1d bars, got bars that begin"),
        (bars(*(at(OPENED) + hour * HOUR // 2 for hour in range(24))), HOURS, "asked for 1h bars, got bars that begin"),
        (
            bars(*(at(OPENED) + day * 24 * HOUR for day in range(30))),
            replace(HOURS, end=DAYS.end),
            "asked for 1h bars, got 1d bars",
        ),
        (
            bars(*(at(OPENED) + hour * HOUR for hour in range(24))),
            replace(HOURS, timeframe="5m"),
            "asked for 5m bars, got 1h bars",
        ),
        (bars(*(at(OPENED) + week * 168 * HOUR for week in range(40))), DAYS, "a week apart"),
    ],
)
def test_polygon_bars_that_answer_another_question(answer: bytes, task: Task, problem: str) -> None:
    with pytest.raises(BadPayload, match=problem):
        polygon.bars(answer, replace(task, provider_symbol="AAPL"))


def test_polygon_bars_that_are_odd_and_good() -> None:
    """A stray row, another case of the ticker, a thin stock that trades in the closing auction alone, one bad row."""
    assert polygon.bars(bars(at(OPENED) - HOUR, at(OPENED), at(OPENED) + HOUR, ticker="aapl"), HOURS_OF_AAPL)
    thin = replace(DAYS, asset_class="stock", timeframe="5m")
    closes = [at(OPENED) + day * 24 * HOUR + 21 * HOUR for day in range(60)]
    assert polygon.bars(bars(*closes), thin).row_count == 60
    stray = polygon.bars(bars(at(OPENED) - HOUR, at(OPENED)), HOURS_OF_AAPL)
    assert stray.first_at == stray.last_at == OPENED, "a stray row is none of what came"
    odd_stamps: tuple[object, ...] = ("", None, 10**18, "1672531200000", {}, -1, True)
    for odd in odd_stamps:
        parsed = polygon.bars(body(results=[{**BAR, "t": odd}, BAR, {"x": 1}, 7, BAR]), DAYS)
        assert parsed.row_count == 5 and parsed.first_at == OPENED
    sunday = datetime(2023, 1, 1, 5, tzinfo=UTC)
    week = replace(DAYS, asset_class="stock", timeframe="1w", start=datetime(2023, 1, 2, 5, tzinfo=UTC))
    assert polygon.bars(bars(at(sunday)), week).first_at == week.start, "Polygon's weeks begin on Sunday"


HOURS_OF_AAPL = replace(HOURS, source="polygon", provider_symbol="AAPL")


def test_polygons_whole_market_day_is_of_that_day_and_whole() -> None:
    day = Task("polygon", "grouped_daily", datetime(2023, 1, 3, 5, tzinfo=UTC), datetime(2023, 1, 4, 5, tzinfo=UTC))
    row = {**BAR, "T": "AAPL", "t": at(datetime(2023, 1, 3, 21, tzinfo=UTC))}
    parsed = polygon.grouped(body(results=[row]), day)
    assert parsed.first_at == parsed.last_at == day.start
    assert polygon.grouped(body(), day).last_at is None
    with pytest.raises(BadPayload, match="resultsCount says 9"):
        polygon.grouped(body(results=[row], resultsCount=9), day)
    with pytest.raises(BadPayload, match="1 rows from 2022-12-30"):
        polygon.grouped(body(results=[{**row, "t": at(datetime(2022, 12, 30, 21, tzinfo=UTC))}]), day)


def test_polygons_reference_rows_are_of_the_ticker() -> None:
    rows = [{"ticker": "AAPL", "execution_date": "2020-08-31"}, {"ticker": "AAPL", "execution_date": "TBD"}]
    assert polygon.reference(body(results=rows), "execution_date", "AAPL").row_count == 2
    assert polygon.newest_day(body(results=rows), "execution_date") == datetime(2020, 8, 31, tzinfo=UTC)
    assert polygon.newest_day(body(results=[{"execution_date": 5}]), "execution_date") is None
    with pytest.raises(BadPayload, match="asked for symbol TSLA"):
        polygon.reference(body(results=rows), "execution_date", "TSLA")


def test_polygons_next_page_keeps_path_and_query_only() -> None:
    kind = "/v2/aggs/ticker/"
    link = "https://elsewhere.example/polygon/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-10?cursor=bGl"
    path = polygon.next_page(link, kind, "AAPL")
    assert path == "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-10?cursor=bGl"
    start = polygon.page_start(path)
    assert start is not None and start.isoformat() == "2020-01-04T05:00:00+00:00"
    assert polygon.page_start(path.replace("1578114000000", "2020-01-04")) is None
    assert polygon.next_page(None, kind) is polygon.next_page("", kind) is None
    strange: tuple[Any, ...] = (5, "soon", "@evil.example/v2/aggs/ticker/AAPL/", "https://[", {}, "/v3/x")
    for wrong in strange:
        with pytest.raises(BadPayload, match="next_url is none"):
            polygon.next_page(wrong, kind, "AAPL")
    with pytest.raises(BadPayload, match="about MSFT, not AAPL"):
        polygon.next_page(link.replace("AAPL", "MSFT"), kind, "AAPL")


def test_binance_klines() -> None:
    one = replace(HOURS, end=OPENED + timedelta(hours=1))
    raw = orjson.dumps([KLINE])
    parsed = binance.klines(raw, one)
    assert parsed.row_count == 1 and parsed.sha == sha256(raw) and parsed.first_at == parsed.last_at == OPENED
    assert binance.klines(b"[]", one).row_count == 0
    running = klines(KLINE[0], KLINE[0] + HOUR)
    assert binance.klines(running, one, OPENED + timedelta(hours=2)) == parsed, "a running bar does not count"
    alone = binance.klines(klines(KLINE[0] + HOUR), one, OPENED + timedelta(hours=2))
    assert (alone.row_count, alone.last_at) == (0, None), "where it is alone no bar has come"
    for bad in (b"{}", b"<html>", orjson.dumps([KLINE[:11]]), orjson.dumps([["x", *KLINE[1:]]])):
        with pytest.raises(BadPayload):
            binance.klines(bad, one)
    with pytest.raises(BadPayload, match="asked for 1h bars, got bars of 0:05:00"):
        binance.klines(klines(KLINE[0], KLINE[0] + HOUR // 12, length=HOUR // 12), HOURS)
    with pytest.raises(BadPayload, match="1 rows from 2022-12-31 23:00"):
        binance.klines(klines(KLINE[0] - HOUR), HOURS)


def test_binance_objects_must_have_their_fields_and_their_symbol() -> None:
    task = replace(HOURS, endpoint="funding", timeframe=None)

    def settled(**fields: object) -> bytes:
        return orjson.dumps([{"symbol": "BTCUSDT", "fundingRate": "0.1", "fundingTime": at(OPENED) + 7, **fields}])

    parsed = binance.objects(settled(), task, "fundingRate", "fundingTime")
    assert parsed.row_count == 1 and parsed.last_at == OPENED + timedelta(milliseconds=7)
    assert binance.objects(settled(fundingTime=str(at(OPENED))), task, "fundingRate", "fundingTime").last_at == OPENED
    with pytest.raises(BadPayload, match="fundingRate, fundingTime"):
        binance.objects(b'[{"fundingTime":1}]', task, "fundingRate", "fundingTime")
    with pytest.raises(BadPayload, match="got 'ETHUSDT'"):
        binance.objects(settled(symbol="ETHUSDT"), task, "fundingRate", "fundingTime")
    with pytest.raises(BadPayload, match="got 'ETHUSDT'"):
        binance.open_interest_now(b'{"openInterest":"1","symbol":"ETHUSDT","time":1}', task)


FILE = replace(HOURS, origin="archive", via="spot")
NAMES = ",".join(archive.COLUMNS["bars"])
ROW = f"{at(OPENED)},1,4,0.5,2,9,{at(OPENED) + HOUR - 1},7,3,5,6,0"


def zipped(*texts: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for number, text in enumerate(texts):
            made.writestr(f"{number}.csv", text)
    return file.getvalue()


def unpacked(text: str, task: Task = FILE) -> tuple[Parsed, dict[str, Any]]:
    raw = zipped(text)
    parsed = archive.contents(raw, task, sha256(raw))
    return parsed, orjson.loads(parsed.payload or "")


@pytest.mark.parametrize(("text", "header"), [(f"{NAMES}\n{ROW}\n", NAMES.split(",")), (f"{ROW}\n", None)])
def test_archive_files_with_and_without_a_header(text: str, header: list[str] | None) -> None:
    parsed, payload = unpacked(text)
    assert parsed.row_count == 1 and parsed.first_at == parsed.last_at == OPENED
    assert parsed.sha == payload["checksum"] and payload["file"] == "BTCUSDT-1h-2023-01-01.zip"
    assert payload["header"] == header and payload["rows"] == [ROW.split(",")]


def test_archive_files_are_read_by_their_header() -> None:
    """New columns, another order, other spellings: the rows are stored in the documented order."""
    named, row = ["x", *reversed(NAMES.split(","))], ["?", *reversed(ROW.split(","))]
    parsed, payload = unpacked(f"{','.join(named)}\n{','.join(row)}\n")
    assert payload["rows"] == [ROW.split(",")] and payload["header"] == NAMES.split(",")
    assert payload["header_of_file"] == named and parsed.first_at == OPENED
    spelt = NAMES.replace("quote_volume,count", "Quote Asset Volume,number_of_trades").replace(",ignore", "")
    _, payload = unpacked(f"{spelt}\n{ROW.rpartition(',')[0]}\n")
    assert payload["rows"] == [[*ROW.split(",")[:-1], ""]]


def test_archive_files_as_other_programs_write_them() -> None:
    plain, _ = unpacked(f"{NAMES}\n{ROW}\n")
    micro = ROW.replace(str(at(OPENED)), f"{at(OPENED)}000").replace("3599999", "3599999999")
    for text in (
        f"\ufeff{NAMES}\r\n{ROW}\r\n\r\n",
        f"{NAMES}\n {ROW.replace(',', ' , ')} \n   \n",
        f"{NAMES}\n{ROW.replace(str(at(OPENED)), '1.6725312E+12')}\n",
        f"{ROW.replace(str(at(OPENED) + HOUR - 1), '')}\n",
        f"{micro}\n",
    ):
        parsed, payload = unpacked(text)
        assert (parsed.row_count, parsed.first_at) == (plain.row_count, OPENED)
        assert payload["rows"][0][1:6] == ROW.split(",")[1:6]
        assert payload["rows"][0][0] in (str(at(OPENED)), f"{at(OPENED)}000")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no rows"),
        (f"{NAMES}\n", "has no rows"),
        (f"{NAMES.replace('close,', 'last,')}\n{ROW}\n", "column close is not among"),
        (f"{NAMES},close\n{ROW},2\n", "column close is there twice"),
        (f"a,b,c\n{ROW}\n", "unknown column names: a,b,c".replace(",", ", ")),
        (f"{ROW},1\n", "expected 12 columns where there is no header, got 13"),
        (f"{NAMES}\n{ROW.replace('4', chr(0))}\n", "holds a NUL"),
        (f"{NAMES}\n{ROW.replace(str(at(OPENED)), str(at(OPENED) + 24 * HOUR), 1)}\n", "asked for"),
        (f"{NAMES}\n{ROW.replace(str(at(OPENED) + HOUR - 1), str(at(OPENED) + HOUR // 2 - 1))}\n", "got bars of 0:30"),
        (f"{NAMES}\n{ROW.replace(str(at(OPENED)), '1e999999999')}\n", "is a time"),
        ("<html>\n<body>\n", "unknown column names"),
    ],
)
def test_archive_files_that_are_of_no_use(text: str, problem: str) -> None:
    with pytest.raises(archive.BadFile, match=problem):
        unpacked(text)


def test_archive_metrics_are_of_the_symbol() -> None:
    task = replace(FILE, endpoint="metrics", timeframe=None, via="1h")
    row = "2023-01-01 00:05:00,BTCUSDT,1,2,3,4,5,6"
    parsed, _ = unpacked(
        f"{','.join(archive.COLUMNS['metrics'])}\n{row}\n0000-00-00 00:00:00,BTCUSDT,1,2,3,4,5,6\n", task
    )
    assert parsed.first_at == parsed.last_at == OPENED + timedelta(minutes=5)
    with pytest.raises(archive.BadFile, match="got 'ETHUSDT'"):
        unpacked(f"{row.replace('BTC', 'ETH')}\n", task)


def test_archive_files_must_have_their_checksum_and_be_a_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    good = zipped(f"{NAMES}\n{ROW}\n")
    with pytest.raises(archive.BadFile, match="checksum"):
        archive.contents(good, FILE, sha256(b"other"))
    crippled = good[:30] + bytes([good[30] ^ 255]) + good[31:-40] + b"x" * 40
    for bad in (b"no zip", b"", zipped(), zipped("1", "2"), zipped(b"\xff\xfe"), crippled):
        with pytest.raises(archive.BadFile, match="not a zip of one CSV"):
            archive.contents(bad, FILE, sha256(bad))
    monkeypatch.setattr(archive, "LARGEST_BODY", 100_000)
    bomb = zipped(" " * 1_000_000)
    assert len(bomb) < 2_000
    with pytest.raises(archive.BadFile, match="larger than"):
        archive.contents(bomb, FILE, sha256(bomb))


def test_checksums_as_they_are_written() -> None:
    digest = sha256(b"x")
    for written in (f"{digest}  a.zip", f"{digest.upper()} *a.zip\n", f"\ufeff{digest}\ta.zip\r\n", digest):
        assert archive.checksum_of(written.encode(), "a.zip") == digest
    several = f"{'0' * 64}  other.zip\n{digest}  a.zip\n".encode()
    assert archive.checksum_of(several, "a.zip") == digest
    for bad in (b"", b"<html>", b"a" * 63, b"\xff" * 64, b"g" * 64):
        with pytest.raises(BadPayload):
            archive.checksum_of(bad, "a.zip")


MONTH = Task(
    "yahoo", "bars", datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 2, 1, tzinfo=UTC), "A", "stock", "AAPL", "1d"
)


def chart(timestamps: list[Any] | None, granularity: str = "1d", length: int | None = None, **meta: object) -> bytes:
    count = len(timestamps or []) if length is None else length
    quote = {field: [1.0] * count for field in yahoo.PRICE_FIELDS} if timestamps else {}
    zone = {"exchangeTimezoneName": "America/New_York"}
    result: dict[str, Any] = {
        "meta": {"dataGranularity": granularity, **zone, **meta},
        "indicators": {"quote": [quote]},
    }
    if timestamps:
        result["timestamp"] = timestamps
    return orjson.dumps({"chart": {"result": [result], "error": None}})


COIN = replace(MONTH, symbol="BTC", asset_class="crypto", provider_symbol="BTC-EUR")


@pytest.mark.parametrize(
    ("task", "meta", "problem"),
    [
        (MONTH, {"currency": "GBp"}, "asked for prices in USD, got 'GBp'"),
        (COIN, {"currency": "USD"}, "asked for prices in EUR, got 'USD'"),
        (
            MONTH,
            {"exchangeTimezoneName": "Europe/London"},
            "asked for days of America/New_York, got days of Europe/London",
        ),
        (COIN, {"exchangeTimezoneName": "America/New_York"}, "asked for days of UTC, got days of America/New_York"),
        (MONTH, {"exchangeTimezoneName": "Nowhere/City"}, "unknown time zone: 'Nowhere/City'"),
        (MONTH, {"exchangeTimezoneName": "../etc/passwd"}, "unknown time zone"),
        (MONTH, {"currency": "USD", "exchangeTimezoneName": "US/Eastern"}, None),
        (MONTH, {"currency": None, "exchangeTimezoneName": None}, "does not say in which time zone"),
        (replace(MONTH, timeframe="5m"), {"currency": None, "exchangeTimezoneName": None}, None),
        (COIN, {"currency": "EUR", "exchangeTimezoneName": "UTC"}, None),
        (replace(MONTH, timeframe="5m"), {"exchangeTimezoneName": "Europe/London"}, None),
    ],
)
def test_yahoo_charts_of_another_market(task: Task, meta: dict[str, Any], problem: str | None) -> None:
    granularity = task.timeframe or "1d"
    if problem is None:
        assert yahoo.chart(chart([1], granularity, **meta), task, granularity).row_count == 1
        return
    with pytest.raises(BadPayload, match=re.escape(problem)):
        yahoo.chart(chart([1], granularity, **meta), task, granularity)


def test_yahoo_charts() -> None:
    parsed = yahoo.chart(chart([1, 90_000], symbol="aapl"), MONTH, "1d")
    assert parsed.row_count == 2 and parsed.last_at == datetime(1970, 1, 2, 1, tzinfo=UTC)
    assert yahoo.chart(chart(["1", None, "x"], symbol="AAPL"), MONTH, "1d").first_at == MONTH.start + timedelta(
        seconds=1
    )
    with pytest.raises(NoAnswer, match="no bars"):
        yahoo.chart(chart(None), MONTH, "1d")
    with pytest.raises(NoAnswer, match="delisted"):
        yahoo.chart(
            b'{"chart":{"result":null,"error":{"code":"Not Found","description":"may be delisted"}}}', MONTH, "1d"
        )
    with pytest.raises(NoAnswer, match="down"):
        yahoo.chart(b"<html>Will be right back</html>", MONTH, "1d")
    with pytest.raises(BadPayload, match="asked for 30m bars, got 60m"):
        yahoo.chart(chart([1], "60m"), MONTH, "30m")
    with pytest.raises(BadPayload, match="not as long"):
        yahoo.chart(chart([1, 2], length=1), MONTH, "1d")
    with pytest.raises(BadPayload, match="asked for symbol AAPL, got 'MSFT'"):
        yahoo.chart(chart([1], symbol="MSFT"), MONTH, "1d")
    with pytest.raises(BadPayload, match="got 1 rows from 1971"):
        yahoo.chart(chart([31_536_000], symbol="AAPL"), MONTH, "1d")
    for unreadable in ("1970-01-02T14:30:00Z", 90_000_000_000_000, 1.5):
        with pytest.raises(BadPayload, match="none of its 1 rows has a time stamp that can be read"):
            yahoo.chart(chart([unreadable]), MONTH, "1d")
    with pytest.raises(BadPayload, match="not as long"):
        yahoo.chart(chart([1]).replace(b'"close":[1.0]', b'"close":"1"'), MONTH, "1d")
    for bad in (
        b"<html>",
        b"{}",
        b'{"chart":{"error":null,"result":[{}]}}',
        b'{"chart":{"error":null,"result":[{"meta":5}]}}',
    ):
        with pytest.raises(BadPayload):
            yahoo.chart(bad, MONTH, "1d")


@pytest.mark.parametrize(
    "number", [b"1e-20000", b"1E-16384", b"1.25e-16383", b"0e999999999999", b"0." + b"1" * 16_384, b"-0.5e-99999"]
)
def test_numbers_that_jsonb_refuses_are_found(number: bytes) -> None:
    with pytest.raises(BadPayload, match="jsonb"):
        storable.check(b'{"a":"x","results":[' + number + b"]}")


def test_what_only_looks_like_such_a_number_is_stored() -> None:
    harmless = (b'{"id":"ab1e99999","b":"1e-20000"}', b"[1e-1000, 1e-16383, 1e300]", b"[0." + b"1" * 16_000 + b"]")
    for body in harmless:
        storable.check(body)
    for nul in (b'["\\u0000"]', b"[\x00]"):
        with pytest.raises(BadPayload, match="NUL"):
            storable.check(nul)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7), ("0.5", 0.5), ("10, 10", 10), ("10,30", 30), (" 3 ", 3), ("31536000", 31_536_000), ("-5", 0),
        ("", 0), ("soon", 0), ("NaN", 0), ("inf", 0), ("1e9", 0), ("9" * 400, 0), ("²", 0), ("10; 5", 0), (",", 0),
        ("Fri, 01 Jan 2010 00:00:00 GMT", 0), ("Fri, 99 Foo 2100", 0), ("Fri, 01 Jan 99999 00:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_every_retry_after_is_read(text: str, seconds: float) -> None:
    assert headers.retry_after({"Retry-After": text}) == seconds
    assert headers.retry_after({}) == 0
    assert headers.retry_after({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}) > 10**9


@pytest.mark.parametrize(
    ("text", "count"),
    [("5", 5), ("10, 10", 10), ("", None), ("-1", None), ("many", None), ("1.5", None), ("9" * 30, None), ("²", None)],
)
def test_every_count_is_read(text: str, count: int | None) -> None:
    assert headers.count({"x-mbx-used-weight-1m": text}, "x-mbx-used-weight-1m") == count
    assert headers.count({}, "x-mbx-used-weight-1m") is None
