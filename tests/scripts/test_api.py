"""The HTTP API, over real HTTP, on a warehouse that dbt built."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pyarrow.parquet
import pytest
import requests
import uvicorn

from extract.core import database as extract_database
from extract.core import locks, settings
from extract.core.locks import Lock
from scripts import reading
from scripts.api import ages
from scripts.api.app import create_app
from tests.extract.conftest import forget
from tests.scripts.conftest import BEFORE_THE_AMENDMENT, HOSTILE, HOURS, NOW, SESSIONS, TOKEN, Served, serving
from tests.warehouse import Database, Warehouse

DATA, QUALITY, STATUS = "/api/v1/data", "/api/v1/data/quality", "/api/v1/enrichment/status"
METRICS, TRIGGER = "/api/v1/enrichment/metrics", "/api/v1/enrichment/trigger"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


def exact(answer: requests.Response) -> Any:
    """The JSON of an answer, its numbers as they were sent."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


# ------------------------------------------------------------ bars

# What every bar of an answer has in common stands beside the columns.
COMMON = {"symbol", "asset_class", "timeframe"}


def columns_of_the_mart(built: Warehouse) -> list[str]:
    """In the table's order, without what all bars of an answer have in common."""
    found = built.query(
        "select column_name as name from information_schema.columns"
        " where table_schema = 'marts' and table_name = 'market_data_v2' order by ordinal_position"
    )
    return [row["name"] for row in found if row["name"] not in COMMON]


def test_bars_are_those_of_the_mart(served: Served, built: Warehouse) -> None:
    answer = exact(served.get(f"{DATA}/BTC", timeframe="1h", limit=5000))
    stored = built.query(
        "select to_jsonb(bars) as bar from marts.market_data_v2 as bars"
        " where symbol = 'BTC' and timeframe = '1h' order by timestamp"
    )
    assert answer["count"] == len(stored) == 262
    assert answer["columns"].keys() == stored[0]["bar"].keys() - COMMON
    for column, values in answer["columns"].items():
        for sent, row in zip(values, stored, strict=True):
            kept = row["bar"][column]
            if isinstance(kept, int | float) and not isinstance(kept, bool):
                assert Decimal(sent) == Decimal(str(kept)), (column, sent, kept)
            else:
                assert sent == kept, (column, sent, kept)
    assert answer["next_cursor"] is None


def test_the_description_names_the_columns_of_the_mart(served: Served, built: Warehouse) -> None:
    data = served.get("/openapi.json").json()["paths"]["/api/v1/data/{symbol}"]["get"]["parameters"]
    pattern = next(parameter["schema"]["pattern"] for parameter in data if parameter["name"] == "columns")
    assert re.fullmatch(pattern, ",".join(columns_of_the_mart(built)))
    assert not re.fullmatch(pattern, "close,symbol")


@pytest.mark.parametrize("start", [None, "2025-01-01"])
def test_pages_follow_each_other_without_hole_or_overlap(served: Served, start: str | None) -> None:
    pages, cursor = [], None
    while True:
        wanted: dict[str, str | int] = {"timeframe": "1d", "limit": 20, "columns": "close"}
        wanted |= {"start": start} if start else {}
        wanted |= {"cursor": cursor} if cursor else {}
        answer = exact(served.get(f"{DATA}/AAPL", **wanted))
        pages.append(answer["columns"]["timestamp"])
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    # With a start they go on in time, else back from the newest; inside a page, time always goes on.
    in_order = list(itertools.chain(*(pages if start else pages[::-1])))
    assert in_order == [bar.timestamp.isoformat() for bar in SESSIONS]
    assert [len(page) for page in pages] == [20, 20, len(SESSIONS) - 40]


def test_a_last_page_that_is_full_has_no_next(served: Served) -> None:
    answer = exact(served.get(f"{DATA}/AAPL", timeframe="1d", limit=len(SESSIONS)))
    assert (answer["count"], answer["next_cursor"]) == (len(SESSIONS), None)


def test_start_is_included_end_is_not_and_an_end_that_is_a_date_is(served: Served) -> None:
    def times(**bounds: str) -> list[str]:
        return exact(served.get(f"{DATA}/BTC", timeframe="1h", columns="close", **bounds))["columns"]["timestamp"]

    assert times(start="2025-03-04T00:00:00Z", end="2025-03-04T02:00:00Z") == [
        "2025-03-04T00:00:00+00:00", "2025-03-04T01:00:00+00:00",
    ]  # fmt: skip
    assert len(times(start="2025-03-04", end="2025-03-04")) == 24
    assert times(start="2025-03-04T01:00:00+01:00", end="2025-03-04T01:00:00") == ["2025-03-04T00:00:00+00:00"]


def test_as_of_shows_what_was_known_then(served: Served) -> None:
    bar = HOURS[50]

    def close(**more: str) -> Decimal:
        start = bar.timestamp.isoformat()
        wanted = {"timeframe": "1h", "start": start, "limit": "1", "columns": "close", **more}
        answer = exact(served.get(f"{DATA}/BTC", **wanted))
        assert answer["columns"]["timestamp"] == [start]
        return Decimal(answer["columns"]["close"][0])

    assert close() == bar.close + Decimal("0.01")
    assert close(as_of=BEFORE_THE_AMENDMENT.isoformat()) == bar.close
    assert close(as_of=NOW.isoformat()) == bar.close + Decimal("0.01")
    file = served.get(f"{DATA}/BTC", timeframe="1h", as_of=BEFORE_THE_AMENDMENT.isoformat(), format="csv")
    assert len(file.text.splitlines()) == 263


def test_age_and_staleness_of_an_as_of_answer_are_those_of_its_moment(served: Served) -> None:
    def age(path: str, timeframe: str, as_of: datetime) -> tuple[int, bool]:
        answer = served.get(f"{DATA}/{path}", timeframe=timeframe, columns="close", limit=1, as_of=as_of.isoformat())
        told = answer.json()
        assert answer.headers["x-data-age-seconds"] == str(told["data_age_seconds"])
        return told["data_age_seconds"], told["is_stale"]

    # The bar that opened at 23:00 closed at midnight; the next one closes at one.
    assert age("BTC", "1h", BEFORE_THE_AMENDMENT) == (600, False)
    assert age("BTC", "1h", NOW) == (1800, False)
    # New York's session closed at 20:00 UTC.
    assert age("AAPL", "1d", BEFORE_THE_AMENDMENT) == (4 * 3600 + 600, False)
    # Nothing came since: at a later moment the same bars are older.
    assert age("BTC", "1h", NOW + timedelta(days=3)) == (1800 + 3 * 86_400, True)
    assert served.get(f"{DATA}/BTC", timeframe="1h", columns="close", limit=1).json()["data_age_seconds"] == 1800


@pytest.mark.parametrize(
    ("asset_class", "timeframe", "newest", "moment", "expected"),
    [
        # A coin's hour: the next one is due an hour after the close, and stale ten minutes later.
        ("crypto", "1h", "2025-03-14T10:00Z", "2025-03-14T12:10:00Z", (4200, False)),
        ("crypto", "1h", "2025-03-14T10:00Z", "2025-03-14T12:10:01Z", (4201, True)),
        # A stock's Friday is current until Monday's close.
        ("stock", "1d", "2025-03-14T04:00Z", "2025-03-17T19:00Z", (71 * 3600, False)),
        ("stock", "1d", "2025-03-14T04:00Z", "2025-03-17T21:00:01Z", (73 * 3600 + 1, True)),
        # The last hour of the session, and the first of the next: on the session, and on the clock.
        ("stock", "1h", "2025-03-14T19:30Z", "2025-03-17T15:29Z", (67 * 3600 + 29 * 60, False)),
        ("stock", "1h", "2025-03-14T19:00Z", "2025-03-17T15:01Z", (67 * 3600 + 60, True)),
        # A half day, then Thanksgiving's week: closed at 13:00 New York.
        ("stock", "1d", "2024-11-29T05:00Z", "2024-11-29T18:30Z", (1800, False)),
        ("etf", "1w", "2025-03-10T04:00Z", "2025-03-21T19:00Z", (167 * 3600, False)),
        ("etf", "1w", "2025-03-10T04:00Z", "2025-03-21T22:00Z", (170 * 3600, True)),
    ],
)
def test_ages_know_sessions(
    asset_class: str, timeframe: str, newest: str, moment: str, expected: tuple[int, bool]
) -> None:
    age = ages.at(
        datetime.fromisoformat(moment), "NOBODY", asset_class, timeframe, datetime.fromisoformat(newest), None
    )
    assert (age.seconds, age.is_stale) == expected


def test_ages_of_now_are_those_of_the_mart(built: Warehouse) -> None:
    """What is counted here for the past is counted there for the present."""
    found = built.query("select * from marts.enrichment_status where newest_bar is not null and is_enabled")
    assert len(found) > 5
    for row in found:
        age = ages.at(NOW, row["symbol"], row["asset_class"], row["timeframe"], row["newest_bar"], row["source_in_use"])
        told = (row["symbol"], row["timeframe"])
        assert (age.seconds, age.is_stale) == (row["data_age_seconds"], row["is_stale"]), told


def test_a_moment_before_the_first_build_is_no_empty_answer(served: Served) -> None:
    answer = served.get(f"{DATA}/BTC", timeframe="1h", as_of="2025-03-01")
    assert answer.status_code == 404
    assert "this warehouse knew nothing yet: its first build was at 2025-03-14 00:10:00 UTC" in answer.json()["detail"]


@pytest.mark.parametrize("start", [None, "2025-03-05"])
def test_pages_of_several_symbols_follow_each_other(served: Served, built: Warehouse, start: str | None) -> None:
    names, pages, cursor = ["AAPL", "BTC"], [], None
    while True:
        wanted: dict[str, str | int] = {"symbols": "BTC,AAPL", "timeframe": "1d", "limit": 7, "columns": "close"}
        wanted |= {"start": start} if start else {}
        wanted |= {"cursor": cursor} if cursor else {}
        answer = exact(served.get(DATA, **wanted))
        assert answer["symbols"] == names
        columns = answer["columns"]
        assert list(columns) == ["symbol", "timestamp", "close"]
        pages.append(list(zip(columns["timestamp"], columns["symbol"], columns["close"], strict=True)))
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert len(pages) > 2
    in_order = list(itertools.chain(*(pages if start else pages[::-1])))
    stored = built.query(
        "select timestamp, symbol, close from marts.market_data_v2 where symbol = any(%s) and timeframe = '1d'"
        " and timestamp >= %s order by timestamp, symbol",
        names,
        start or "2000-01-01",
    )
    assert in_order == [(row["timestamp"].isoformat(), row["symbol"], row["close"]) for row in stored]


def test_several_symbols_as_a_file_and_in_the_path(served: Served) -> None:
    answer = served.get(f"{DATA}/BTC,AAPL", timeframe="1d", columns="close", format="csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["symbol"] for line in lines] == ["AAPL"] * len(SESSIONS) + ["BTC"] * 11
    limited = served.get(f"{DATA}/BTC,AAPL", timeframe="1d", columns="close", format="csv", limit=3)
    assert len(limited.text.splitlines()) == 4
    table = pyarrow.parquet.read_table(
        io.BytesIO(served.get(DATA, symbols="BTC,AAPL", timeframe="1d", columns="close", format="parquet").content)
    )
    assert table.column_names == ["symbol", "timestamp", "close"]
    # The oldest of them tells the age.
    told = served.get(DATA, symbols="BTC,AAPL", timeframe="1d", columns="close", limit=1).json()
    assert told["data_age_seconds"] == max(
        served.get(f"{DATA}/{one}", timeframe="1d", columns="close", limit=1).json()["data_age_seconds"]
        for one in ("BTC", "AAPL")
    )


@pytest.mark.parametrize("adjusted", ["splits", "true", "total_return"])
def test_adjusted_prices_are_those_of_the_mart(served: Served, built: Warehouse, adjusted: str) -> None:
    answer = exact(served.get(f"{DATA}/AAPL", timeframe="1d", columns="close,volume", adjusted=adjusted))
    mart = built.query(
        "select * from marts.market_data_adjusted where symbol = 'AAPL' and timeframe = '1d' order by timestamp"
    )
    name = "total_return_close" if adjusted == "total_return" else "close"
    # Without an answer on dividends no total return is known: null, as there.
    closes = [one if one is None else Decimal(one) for one in answer["columns"]["close"]]
    assert closes == [row[name] for row in mart]
    assert [Decimal(one) for one in answer["columns"]["volume"]] == [row["volume"] for row in mart]
    assert answer["adjusted"] == ("total_return" if adjusted == "total_return" else "splits")
    assert mart[0]["split_adjustment"] == Decimal("0.5")


def test_symbols_are_listed_with_their_ranges(served: Served) -> None:
    told = served.get("/api/v1/symbols").json()
    assert told["known_since"] == BEFORE_THE_AMENDMENT.isoformat()
    aapl = next(one for one in told["symbols"] if one["symbol"] == "AAPL")
    assert (aapl["asset_class"], aapl["is_enabled"]) == ("stock", True)
    assert [one["timeframe"] for one in aapl["series"]] == ["1d", "1w"]
    daily = aapl["series"][0]
    assert (daily["first_bar"], daily["bars"]) == (SESSIONS[0].timestamp.isoformat(), len(SESSIONS))


def test_between_an_end_and_a_later_start_there_is_nothing(served: Served) -> None:
    bounds = {"start": "2025-03-05", "end": "2025-03-04"}
    answer = exact(served.get(f"{DATA}/AAPL", timeframe="1d", columns="close", **bounds))
    assert (answer["count"], answer["next_cursor"]) == (0, None)
    assert answer["columns"] == {"timestamp": [], "close": []}
    assert exact(served.get(f"{QUALITY}/AAPL", **bounds))["summary"]["days"] == 0
    assert (
        served.get(f"{DATA}/AAPL", timeframe="1d", columns="close", format="csv", **bounds).text == "timestamp,close\n"
    )


def test_csv_and_parquet_are_exact(served: Served, built: Warehouse) -> None:
    stored = built.query(
        "select * from marts.market_data_v2 where symbol = 'BTC' and timeframe = '1h' order by timestamp"
    )
    answer = served.get(f"{DATA}/BTC", timeframe="1h", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [Decimal(line["close"]) for line in lines] == [row["close"] for row in stored]
    assert list(lines[0]) == columns_of_the_mart(built)

    answer = served.get(f"{DATA}/BTC", timeframe="1h", format="parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert table.column_names == columns_of_the_mart(built)
    for column in table.column_names:
        assert table[column].to_pylist() == [row[column] for row in stored], column
    assert answer.headers["x-is-stale"] == "false"
    assert int(answer.headers["x-data-age-seconds"]) == 1800


def test_parquet_has_the_precision_of_the_table(served: Served, built: Warehouse) -> None:
    answer = served.get(f"{DATA}/AAPL", timeframe="1d", format="parquet", limit=1)
    schema = pyarrow.parquet.read_schema(io.BytesIO(answer.content))
    found = built.query(
        "select column_name as name, numeric_precision as precision, numeric_scale as scale"
        " from information_schema.columns"
        " where table_schema = 'marts' and table_name = 'market_data_v2' and data_type = 'numeric'"
    )
    for row in found:
        kind = schema.field(row["name"]).type
        assert (kind.precision, kind.scale) == (row["precision"], row["scale"]), row["name"]


def test_an_export_may_be_limited_to_the_newest_bars(served: Served) -> None:
    answer = served.get(f"{DATA}/AAPL", timeframe="1d", format="csv", limit=2, columns="close")
    assert [line.partition(" ")[0] for line in answer.text.splitlines()[1:]] == ["2025-03-12", "2025-03-13"]


# ------------------------------------------------------------ age, caches


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (f"{STATUS}/BTC", {}),
        (METRICS, {}),
        (f"{QUALITY}/BTC", {}),
        (f"{DATA}/BTC", {"timeframe": "1h", "columns": "close"}),
    ],
)
def test_every_answer_with_data_tells_their_age(served: Served, path: str, parameters: dict[str, str]) -> None:
    answer = served.get(path, **parameters).json()
    assert answer["data_age_seconds"] == 1800
    assert isinstance(answer["is_stale"], bool)


def test_an_answer_that_is_known_is_not_sent_again(served: Served) -> None:
    questions: list[tuple[str, dict[str, str]]] = [(f"{DATA}/BTC", {"timeframe": "1h"}), (f"{QUALITY}/BTC", {})]
    for path, parameters in questions:
        first = served.get(path, **parameters)
        tag = {"If-None-Match": f'"other", {first.headers["etag"]}'}
        again = requests.get(served.url + path, params=parameters, headers=tag, timeout=30)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["x-data-age-seconds"] == "1800"
        other = requests.get(served.url + path, params={**parameters, "limit": "3"}, headers=tag, timeout=30)
        assert other.status_code == 200


def test_a_build_makes_it_another_answer(served: Served, built: Warehouse) -> None:
    before = served.get(f"{DATA}/BTC", timeframe="1h").headers["etag"]
    assert served.get(f"{DATA}/BTC", timeframe="1h").headers["etag"] == before
    # As a model does at the end of its work.
    built.execute("update ops.watermarks set advanced_at = clock_timestamp() where model = 'market_data_v2'")
    assert served.get(f"{DATA}/BTC", timeframe="1h").headers["etag"] != before


# ------------------------------------------------------------ status, metrics, quality


def test_status_is_that_of_the_mart(served: Served) -> None:
    answer = served.get(f"{STATUS}/BTC").json()
    hourly = next(series for series in answer["series"] if series["timeframe"] == "1h")
    assert hourly["newest_bar"] == HOURS[-1].timestamp.isoformat()
    assert (hourly["bars"], hourly["source_in_use"], hourly["is_stale"]) == (262, "binance", False)
    assert answer["symbol"] == "BTC"


def test_quality_counts_the_days(served: Served) -> None:
    answer = served.get(f"{QUALITY}/AAPL", start="2025-03-03", end="2025-03-07").json()
    assert answer["columns"]["metric_date"] == [f"2025-03-0{day}" for day in (3, 4, 5, 6, 7)]
    assert answer["summary"]["days"] == 5
    assert answer["summary"]["total_records"] == sum(answer["columns"]["total_records"])


def test_metrics_tell_of_every_source_and_class(served: Served) -> None:
    answer = served.get(METRICS).json()
    sources = {source["source"]: source for source in answer["sources"]}
    assert sources["binance"]["failed_requests"] == 1
    assert {one["asset_class"] for one in answer["asset_classes"]} == {"stock", "crypto"}
    assert answer["computation"]["rows_computed"] > 0


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("path", "parameters", "status", "words"),
    [
        (f"{DATA}/BTX", {"timeframe": "1h"}, 404, "unknown symbol 'BTX'; did you mean BTC?"),
        (f"{STATUS}/nothing", {}, 404, "unknown symbol 'nothing'"),
        (f"{STATUS}/a%00b", {}, 404, "unknown symbol"),
        (f"{QUALITY}/btx", {}, 404, "did you mean BTC?"),
        (f"{DATA}/AAPL", {"timeframe": "1h"}, 404, "AAPL has no 1h bars; there are 1d, 1w"),
        (f"{DATA}/AAPL", {}, 422, "timeframe: field required"),
        (f"{DATA}/AAPL", {"timeframe": "1m"}, 422, "timeframe: input should be '5m'"),
        (f"{DATA}/AAPL", {"timeframe": "1d", "start": "yesterday"}, 422, "start: 'yesterday' is neither a date"),
        (f"{QUALITY}/AAPL", {"start": "20"}, 422, "start: "),
        (f"{DATA}/AAPL", {"timeframe": "1d", "limit": 0}, 422, "limit: input should be greater than or equal to 1"),
        (f"{DATA}/AAPL", {"timeframe": "1d", "cursor": "x"}, 422, "cursor: "),
        (f"{DATA}/AAPL", {"timeframe": "1d", "columns": "close,pg_sleep(9)"}, 422, "columns: pg_sleep(9) is none of"),
        (
            f"{DATA}/AAPL",
            {"timeframe": "1d", "limt": 2},
            422,
            "unknown parameter limt; this address takes adjusted, as_of",
        ),
        (METRICS, {"x": 1}, 422, "unknown parameter x; this address takes no parameters"),
        (f"{STATUS}/BTC", {"timeframe": "1h"}, 422, "unknown parameter timeframe"),
        ("/api/v1/symbols", {"symbol": "A"}, 422, "unknown parameter symbol"),
        ("/metrics", {"name": "up"}, 422, "unknown parameter name"),
        ("/healthz", {"verbose": 1}, 422, "unknown parameter verbose"),
        (DATA, {"timeframe": "1d"}, 422, "symbols: field required"),
        (DATA, {"timeframe": "1d", "symbols": ","}, 422, "name one to 100"),
        (DATA, {"timeframe": "1d", "symbols": "AAPL,BTX"}, 404, "unknown symbol 'BTX'; did you mean BTC?"),
        (f"{DATA}/AAPL", {"timeframe": "1d", "adjusted": "yes"}, 422, "adjusted: input should be 'splits'"),
        (
            f"{DATA}/AAPL",
            {"timeframe": "1d", "adjusted": "total_return", "as_of": "2025-03-15"},
            404,
            "total_return is not known",
        ),
        (
            f"{DATA}/AAPL",
            {"timeframe": "1d", "adjusted": "total_return", "columns": "atr"},
            404,
            "atr has no total return",
        ),
        ("/api/v1/nothing", {}, 404, "/docs lists all"),
    ],
)
def test_bad_questions_are_refused_in_plain_words(
    served: Served, path: str, parameters: dict[str, Any], status: int, words: str
) -> None:
    answer = served.get(path, **parameters)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/../README.md", "/%2e%2e/README.md", "/api/v1/data/..%2f..%2fhealthz"])
def test_no_path_leads_out_of_the_site(served: Served, path: str) -> None:
    answer = raw(served.url, path)
    assert answer.status_code == 404
    assert path != "/" or "make site" in answer.text


@pytest.mark.parametrize(
    "said",
    [
        "POST /api/v1/enrichment/trigger HTTP/1.1\r\nContent-Length: 500000000",
        "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_body_is_refused_before_it_is_read(served: Served, said: str) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{said}\r\nHost: here\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(1000):
            answer += piece
    # The end of the stream was reached: the connection is closed, though the body never came.
    assert answer.startswith(b"HTTP/1.1 413 ") and b"no route takes a body" in answer
    assert requests.get(f"{served.url}/healthz", data="{}", timeout=30).status_code == 200


def test_a_symbol_is_found_in_small_letters(served: Served) -> None:
    assert served.get(f"{STATUS}/btc").json()["symbol"] == "BTC"
    assert served.get(f"{QUALITY}/btc").json()["symbol"] == "BTC"
    assert served.get(f"{DATA}/btc", timeframe="1h").json()["count"] == 262
    assert served.get(DATA, symbols="btc,aapl", timeframe="1d").json()["symbols"] == ["AAPL", "BTC"]
    assert served.get(f"{DATA}/btc", timeframe="5m").json()["detail"] == "BTC has no 5m bars; there are 1h, 4h, 1d, 1w"


def test_a_hostile_symbol_is_only_a_symbol(served: Served) -> None:
    hostile = quote(HOSTILE, safe="")
    assert served.get(f"{STATUS}/{hostile}").json()["symbol"] == HOSTILE
    assert served.get(f"{DATA}/{hostile}", timeframe="1h").json()["count"] == 5
    assert served.get(f"{QUALITY}/{hostile}").json()["summary"]["total_records"] > 0
    file = served.get(f"{DATA}/{hostile}", timeframe="1h", format="csv")
    assert file.headers["content-disposition"] == 'attachment; filename="x___drop--_b__.._s-1h.csv"'
    found = served.get("/metrics").text
    assert HOSTILE.replace('"', '\\"') in found


def test_the_connection_cannot_write(built: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        environment_of(built.database, monkeypatch, tmp_path),
        reading.connected("test") as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("delete from marts.market_data_v2")


def test_without_a_warehouse_it_shows_the_site_and_says_what_to_do(database: Database, tmp_path: Path) -> None:
    for page in ("index.html", "docs/index.html"):
        (tmp_path / "site" / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / page).write_text(f"the site's {page}")
    (tmp_path / ".env").write_text("")
    with serving(database, tmp_path) as api:
        assert api.get("/").text == "the site's index.html"
        assert api.get("/docs/index.html").text == api.get("/docs/").text == "the site's docs/index.html"
        assert "HTTP API" in api.get("/docs").text
        for path in ("/nothing.html", "/.env", "/%2e%2e/.env", "/docs/%2e%2e/%2e%2e/.env"):
            assert raw(api.url, path).status_code == 404, path
        for path in ("/healthz", "/metrics", f"{STATUS}/BTC", METRICS, f"{DATA}/BTC?timeframe=1d"):
            answer = api.get(path)
            assert answer.status_code == 503, path
            assert "the warehouse is not built yet: run `make extract build`" in answer.json()["detail"]
        # Without API_TOKEN nobody may trigger, whatever he sends.
        assert requests.post(api.url + TRIGGER, headers=AUTHORISED, timeout=30).status_code == 403


def raw(url: str, path: str) -> requests.Response:
    """The answer to a path that is sent as it is."""
    request = requests.Request("GET", url).prepare()
    request.url = url + path
    return requests.Session().send(request, timeout=30)


def test_connections_that_a_restarted_server_has_closed_cost_no_answer(served: Served, built: Warehouse) -> None:
    def ask() -> None:
        statuses.append(served.get(f"{STATUS}/BTC").status_code)

    for _ in range(2):
        statuses: list[int] = []
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 8
        ended = built.query(
            "select pg_terminate_backend(pid) as ended from pg_stat_activity"
            " where datname = current_database() and application_name = 'market serve'"
        )
        assert ended and all(row["ended"] for row in ended)


# ------------------------------------------------------------ trigger


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": TOKEN}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"},
                {"Authorization": "Bearer"}, {"Authorization": "Bearer \xff"}]
)  # fmt: skip
def test_triggering_needs_the_token(served: Served, headers: dict[str, str]) -> None:
    answer = requests.post(served.url + TRIGGER, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_while_a_run_holds_the_lock_nothing_is_started(served: Served, built: Warehouse) -> None:
    name = "market run (process 1)"
    with psycopg.connect(built.database.dsn, autocommit=True) as holder:
        locks.take(holder, Lock.RUN, name)
        answer = requests.post(served.url + TRIGGER, headers=AUTHORISED, timeout=30)
    assert answer.status_code == 409
    assert name in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


def test_of_many_triggers_one_starts_a_run(built: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe, told = tmp_path / "pipe", tmp_path / "told"
    os.mkfifo(pipe)
    # Stands for `market run`: says what it was asked, and runs until it is let go.
    program = f"import os, sys; open({str(told)!r}, 'a').write(f'{{os.getsid(0)}} {{sys.argv[1:]}}'); open({str(pipe)!r}).read()"
    with (
        environment_of(built.database, monkeypatch, tmp_path, API_TOKEN=TOKEN),
        application(create_app((sys.executable, "-c", program))) as url,
    ):
        answers: list[requests.Response] = []

        def trigger() -> None:
            answers.append(requests.post(url + TRIGGER, headers=AUTHORISED, timeout=30))

        threads = [threading.Thread(target=trigger) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
        started = next(answer.json() for answer in answers if answer.status_code == 202)
        with pipe.open("w"):
            pass
        assert f"['--run-id', '{started['run_id']}']" in told.read_text()
        # In a session of its own: a Ctrl-C at the server does not reach it.
        assert told.read_text().split()[0] != str(os.getsid(0))


@contextmanager
def environment_of(database: Database, monkeypatch: pytest.MonkeyPatch, directory: Path, **more: str) -> Iterator[None]:
    """This process's settings lead to that database."""
    monkeypatch.chdir(directory)
    for name, value in {**database.environment, **more}.items():
        monkeypatch.setenv(name, value)
    forget()
    try:
        assert settings.load().pgdatabase == database.name
        assert extract_database.url().partition("?")[0] == database.dsn
        yield
    finally:
        forget()
        reading.read_role.cache_clear()


@contextmanager
def application(app: Any) -> Iterator[str]:
    """An application of this process, over real HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_schemathesis_finds_nothing(served: Served, tmp_path: Path) -> None:
    """Questions made from the description of the API, good and bad: none breaks it, each answer is as described."""
    program = Path(sys.executable).parent / "schemathesis"
    options = ["--max-examples", "10", "--seed", "1", "--suppress-health-check", "all", "--no-color"]
    header = ["--header", f"Authorization: {AUTHORISED['Authorization']}"]
    command = [str(program), "run", f"{served.url}/openapi.json", *options, *header]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "Operations:       9 selected / 9 total" in result.stdout
