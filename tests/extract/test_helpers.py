"""The parsers of the providers' bodies: what is documented passes, anything else is named."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from extract.binance import archive
from extract.binance import helpers as binance
from extract.polygon import helpers as polygon
from extract.responses import BadPayload, NoAnswer, sha256
from extract.yahoo import helpers as yahoo

EVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
BAR = {"v": 1, "vw": 1, "o": 1, "c": 1, "h": 1, "l": 1, "t": 1672531200000, "n": 1}
KLINE: list[Any] = [1672531200000, "1", "1", "1", "1", "1", 1672534799999, "1", 1, "1", "1", "0"]


def body(**fields: object) -> bytes:
    return orjson.dumps({"status": "OK", "resultsCount": len(fields.get("results", [])), **fields})  # type: ignore[arg-type]


def test_polygon_bars_have_the_same_digest_whatever_the_request_id() -> None:
    one, two = (polygon.bars(body(results=[BAR], request_id=name)) for name in "ab")
    assert one == two and one.row_count == 1
    assert polygon.bars(body(results=[{**BAR, "c": 2}])).sha != one.sha


def test_polygon_without_results_is_empty_and_a_delayed_answer_is_good() -> None:
    assert polygon.bars(orjson.dumps({"status": "OK", "resultsCount": 0})).row_count == 0
    assert polygon.bars(body(status="DELAYED", results=[BAR])).row_count == 1
    with pytest.raises(NoAnswer, match="unknown ticker"):
        polygon.bars(orjson.dumps({"status": "OK", "resultsCount": 0}), may_be_empty=False)


@pytest.mark.parametrize(
    "bad",
    [
        b"<html>",
        b"[]",
        b'{"status":"ERROR"}',
        b'{"status":"OK","resultsCount":2}',
        body(results=[{"t": 1}]),
        body(results=[1]),
        b'{"status":"OK","resultsCount":1,"results":[{"t":NaN}]}',
    ],
)
def test_polygon_bodies_that_are_not_documented(bad: bytes) -> None:
    with pytest.raises(BadPayload):
        polygon.bars(bad)


def test_polygons_next_page_keeps_path_and_query_only() -> None:
    link = "https://elsewhere.example/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-10?cursor=bGl"
    path = polygon.next_page(body(results=[BAR], next_url=link))
    assert path == "/v2/aggs/ticker/AAPL/range/1/day/1578114000000/2020-01-10?cursor=bGl"
    start = polygon.page_start(path)
    assert start is not None and start.isoformat() == "2020-01-04T05:00:00+00:00"
    assert polygon.next_page(body(results=[])) is None


def test_binance_klines() -> None:
    opened = datetime.fromtimestamp(KLINE[0] / 1000, UTC)
    after = opened + timedelta(hours=1)
    raw = orjson.dumps([KLINE])
    assert binance.klines(raw, after).row_count == 1 and binance.klines(raw, after).sha == sha256(raw)
    assert binance.klines(b"[]", after).row_count == 0
    running = orjson.dumps([KLINE, [KLINE[0] + 3_600_000, *KLINE[1:]]])
    assert binance.klines(running, after) == binance.klines(raw, after), "a running bar does not count"
    for bad in (b"{}", b"<html>", orjson.dumps([KLINE[:11]]), orjson.dumps([["x", *KLINE[1:]]])):
        with pytest.raises(BadPayload):
            binance.klines(bad, after)


def test_binance_objects_must_have_their_fields() -> None:
    assert binance.objects(b'[{"fundingRate":"0.1","fundingTime":1}]', "fundingRate", "fundingTime").row_count == 1
    with pytest.raises(BadPayload, match="fundingRate, fundingTime"):
        binance.objects(b'[{"fundingTime":1}]', "fundingRate", "fundingTime")


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.csv", text)
    return file.getvalue()


@pytest.mark.parametrize(("text", "header"), [("open_time,open\n1,2.50\n", ["open_time", "open"]), ("1,2.50\n", None)])
def test_archive_files_with_and_without_a_header(text: str, header: list[str] | None) -> None:
    raw = zipped(text)
    parsed = archive.contents(raw, "a.zip", sha256(raw))
    assert parsed.sha == sha256(raw) and parsed.row_count == 1
    assert orjson.loads(parsed.payload or "") == {
        "file": "a.zip", "checksum": sha256(raw), "header": header, "rows": [["1", "2.50"]]
    }  # fmt: skip


def test_archive_files_must_have_their_checksum_and_be_a_zip() -> None:
    with pytest.raises(BadPayload, match="checksum"):
        archive.contents(zipped("1"), "a.zip", sha256(b"other"))
    with pytest.raises(BadPayload, match="not a zip"):
        archive.contents(b"no zip", "a.zip", sha256(b"no zip"))
    digest = sha256(b"x")
    assert archive.checksum_of(f"{digest}  a.zip".encode()) == digest
    for bad in (b"", b"<html>"):
        with pytest.raises(BadPayload):
            archive.checksum_of(bad)


def chart(timestamps: list[int] | None, granularity: str = "1d", length: int | None = None) -> bytes:
    count = len(timestamps or []) if length is None else length
    quote = {field: [1.0] * count for field in yahoo.PRICE_FIELDS} if timestamps else {}
    result: dict[str, Any] = {"meta": {"dataGranularity": granularity}, "indicators": {"quote": [quote]}}
    if timestamps:
        result["timestamp"] = timestamps
    return orjson.dumps({"chart": {"result": [result], "error": None}})


def test_yahoo_charts() -> None:
    assert yahoo.chart(chart([1, 2]), "1d").row_count == 2
    with pytest.raises(NoAnswer, match="no bars"):
        yahoo.chart(chart(None), "1d")
    with pytest.raises(NoAnswer, match="delisted"):
        yahoo.chart(b'{"chart":{"result":null,"error":{"code":"Not Found","description":"may be delisted"}}}', "1d")
    with pytest.raises(NoAnswer, match="down"):
        yahoo.chart(b"<html>Will be right back</html>", "1d")
    with pytest.raises(BadPayload, match="asked for 30m bars, got 60m"):
        yahoo.chart(chart([1], "60m"), "30m")
    with pytest.raises(BadPayload, match="not as long"):
        yahoo.chart(chart([1, 2], length=1), "1d")
    for bad in (b"<html>", b"{}", b'{"chart":{"error":null,"result":[{}]}}'):
        with pytest.raises(BadPayload):
            yahoo.chart(bad, "1d")
