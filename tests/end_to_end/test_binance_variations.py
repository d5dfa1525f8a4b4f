"""Variations of the recorded cases of Binance (../shared/cases), each a symbol of its own, all in one warehouse: files and
answers as they may come, over HTTP, `market extract`, `dbt build`, and the marts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner

from extract.patience import PATIENCE
from extract.unblock import unblock
from scripts.cli import app
from tests.end_to_end import venue as binance
from tests.end_to_end.venue import SAMPLE, File, Row, Twist, Venue, close, grid, instant, interest, ms, packed, serving, zipped
from tests.extract.conftest import forget
from tests.oracle.features import STEP
from tests.simulator import environment
from tests.warehouse import MakeWarehouse, Warehouse, crypto

FIRST, NOW = instant("2026-11-15"), instant("2026-11-20 00:10")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FILE_DAY = instant("2026-11-16")


@dataclass
class Case:
    timeframe: str
    twist: Twist
    first: datetime = FIRST
    futures: str = ""
    spot: str | None = None
    lacks: Callable[[datetime], bool] = lambda at: False
    check: Callable[[Warehouse, Venue, str], None] | None = None


CASES: dict[str, Case] = {}


def add(symbol: str, timeframe: str = "5m", **more: Any) -> None:
    fields = {name: more.pop(name) for name in ("first", "futures", "spot", "lacks", "check") if name in more}
    CASES[symbol] = Case(timeframe, more, **fields)


def on_day(change: Callable[[list[Row]], Any], day: datetime = FILE_DAY) -> Callable[[list[Row], File], Any]:
    return lambda rows, file: change(rows) if file.kind == "klines" and file.start == day else rows


def of(kind: str, change: Callable[..., Any]) -> Callable[..., Any]:
    """A change of the files of a kind."""
    return lambda what, file: change(what, file)if file.kind == kind else {  # noqa: E501
        list: what, str: None}.get(type(what), what) or (what if isinstance(what, list) else packed(what, file.name))


def text_of(rows: list[Row]) -> str:
    return "".join(f"{','.join(row)}\n" for row in rows)


def cells(rows: list[Row], place: int, changes: dict[int, str]) -> list[Row]:
    return [[*row[:place], changes.get(n, row[place]), *row[place + 1 :]] for n, row in enumerate(rows)]


# --- checksums
S = "{}  {}.zip"
add("CKUPPER", checksum=lambda d, f: S.format(d.upper(), f.name).encode())
add("CKBOM", checksum=lambda d, f: b"\xef\xbb\xbf" + f"{d} *{f.name}.zip\r\n".encode())
add("CKLINES", checksum=lambda d, f: f"{'0' * 64}  other.zip\n{d}  {f.name}.zip\n".encode())
add("CKNAME", checksum=lambda d, f: f"{d}  OTHER-5m-2020-01-01.zip".encode())
add("CKBSD", checksum=lambda d, f: f"SHA256 ({f.name}.zip) = {d}".encode())
add("CK404", checksum=lambda d, f: 404)
add("CK403", checksum=lambda d, f: 403)
add("CKHTML", checksum=lambda d, f: b"<!doctype html><html>sorry</html>")
add("CKEMPTY", checksum=lambda d, f: b"")
add("CKMD5", checksum=lambda d, f: f"{d[:32]}  {f.name}.zip".encode())
add("CKWRONG", checksum=lambda d, f: S.format("0" * 64, f.name).encode())
add("CKUTF16", checksum=lambda d, f: S.format(d, f.name).encode("utf-16"))
add("CKMONTH", "1h", first=instant("2026-10-01"), checksum=lambda d, f: S.format("f" * 64, f.name).encode())
# --- zips
add("ZHTML", zip=lambda t, f: b"<html>not a zip</html>")
add("ZEMPTY", zip=lambda t, f: b"")
add("ZNONE", zip=lambda t, f: zipped({}))
add("ZTWO", zip=lambda t, f: zipped({f"{f.name}.csv": t, "README.txt": "hello"}))
add("ZTWOCSV", zip=lambda t, f: zipped({"OTHER-5m-2020-01-01.csv": "1,2,3\n", f"{f.name}.csv": t}))
add("ZMAC", zip=lambda t, f: zipped({f"{f.name}.csv": t, f"__MACOSX/._{f.name}.csv": "x"}))
add("ZNAME", zip=lambda t, f: zipped({"data.csv": t}))
add("ZDIR", zip=lambda t, f: zipped({f"a/b/{f.name}.csv": t}))
add("ZCUT", zip=lambda t, f: packed(t, f.name)[:-300])
add("ZZIP", zip=lambda t, f: zipped({f"{f.name}.zip": packed(t, f.name)}))
add("Z404", zip=lambda t, f: 404)
add("Z403", zip=lambda t, f: 403)
# --- CSVs
HEAD = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
add("CHEAD", header=HEAD)
add("CHEADS", header="Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
    "Taker buy base asset volume,Taker buy quote asset volume,Ignore")
add("CEXTRA", header=HEAD + ",new", csv=lambda rows, f: [[*row, "77"] for row in rows])
add("CEXTRAIN", header="open_time,new," + HEAD.partition(",")[2], csv=lambda rows, f: [[row[0], "77", *row[1:]] for row in rows])
add("CEXTRANO", csv=lambda rows, f: [[*row, "77"] for row in rows])
add("CORDER", header=",".join(reversed(HEAD.split(","))), csv=lambda rows, f: [row[::-1] for row in rows])
add("CMS", csv=lambda rows, f: [[str(int(r[0]) // 1000), *r[1:6], str(int(r[6]) // 1000), *r[7:]] for r in rows])
add("CSEC", csv=lambda rows, f: [[str(int(r[0]) // 10**6), *r[1:6], str(int(r[6]) // 10**6), *r[7:]] for r in rows])
add("CNS", csv=lambda rows, f: [[r[0] + "000", *r[1:6], r[6] + "999", *r[7:]] for r in rows])
add("CMIX", csv=lambda rows, f: [[str(int(r[0]) // 1000), *r[1:6], str(int(r[6]) // 1000), *r[7:]] if n % 2 else r for n, r in enumerate(rows)])
add("CCRLF", csv=lambda rows, f: text_of(rows).replace("\n", "\r\n"))
add("CQUOTE", csv=lambda rows, f: [[f'"{one}"' for one in row] for row in rows])
add("CSEMI", csv=lambda rows, f: text_of(rows).replace(",", ";"))
add("CSCI", csv=lambda rows, f: [[f"{int(r[0]):.15E}", *r[1:]] for r in rows])
add("CDUP", csv=lambda rows, f: [one for row in rows for one in (row, row)])
add("CDUPX", csv=on_day(lambda rows: [*rows, [*rows[5][:4], "999999999", *rows[5][5:]]]))
add("CDESC", csv=lambda rows, f: rows[::-1])
add("CLATER", csv=lambda rows, f: File("klines", f.symbol, f.start + DAY, f.end + DAY).rows(binance.every_eight_hours))
add("COTHER", csv=lambda rows, f: File("klines", f.symbol, f.start, f.end, "15m").rows(binance.every_eight_hours) if f.kind == "klines" else rows)
add("CMORE", csv=lambda rows, f: rows + File("klines", f.symbol, f.start + DAY, f.end + DAY).rows(binance.every_eight_hours)[:3])
add("CZERO", csv=lambda rows, f: "")
add("CZEROH", csv=lambda rows, f: HEAD + "\n")
add("CCUT", csv=on_day(lambda rows: text_of(rows)[:-60]))
add("CCUTROW", csv=on_day(lambda rows: [*rows[:-1], rows[-1][:4]]))
add("CNAN", csv=on_day(lambda rows: cells(rows, 4, {7: "NaN"})))
add("CINF", csv=on_day(lambda rows: cells(rows, 2, {7: "Infinity"})))
add("CBLANK", csv=on_day(lambda rows: cells(rows, 1, {7: ""})))
add("CNEG", csv=on_day(lambda rows: cells(rows, 3, {7: "-1"})))
add("CHIGH", csv=on_day(lambda rows: cells(rows, 2, {7: "1e400"})))
add("CTIME", csv=on_day(lambda rows: cells(rows, 0, {7: "yesterday"})))
add("CNUL", csv=on_day(lambda rows: text_of(rows)[:-3] + "\x00\n"))
add("CUTF16", zip=lambda t, f: zipped({f"{f.name}.csv": t.encode("utf-16")}))
# --- holes
def without(*spans: tuple[str, str]) -> Callable[[list[Row], File], list[Row]]:
    edges = [(ms(instant(a)) * 1000, ms(instant(b)) * 1000) for a, b in spans]
    return lambda rows, file: [r for r in rows if not any(a <= int(r[0]) < b for a, b in edges)] if file.kind == "klines" else rows

add("HSTART", csv=without(("2026-11-16 00:00", "2026-11-16 02:00")))
add("HEND", csv=without(("2026-11-16 22:00", "2026-11-17 00:00")))
add("HNIGHT", csv=without(("2026-11-15 22:00", "2026-11-16 02:00")))
add("HONE", csv=without(("2026-11-16 13:05", "2026-11-16 13:10")))
add("HSEAM", csv=without(("2026-11-17 20:00", "2026-11-18 00:00")))
add("HALT", csv=lambda rows, f: rows[::2])
add("HMANY", csv=on_day(lambda rows: [r for n, r in enumerate(rows) if n % 24]))
NOON = lambda at: instant("2026-11-16 12:00") <= at < instant("2026-11-16 14:00")  # noqa: E731
add("HBOTH", csv=without(("2026-11-16 12:00", "2026-11-16 14:00")), lacks=NOON,
    klines=lambda rows, q, n: [r for r in rows if not ms(instant("2026-11-16 12:00")) <= r[0] < ms(instant("2026-11-16 14:00"))])
OCT = instant("2026-10-01")
add("MDAY", "1h", first=OCT, csv=without(("2026-10-12", "2026-10-13")))
add("MWEEK", "1h", first=OCT, csv=without(("2026-10-08", "2026-11-01")))
add("MZERO", "1h", first=OCT, csv=lambda rows, f: "")
add("MALT", "1h", first=OCT, csv=lambda rows, f: rows[::2])
add("M404", "1h", first=OCT, zip=lambda t, f: 404, checksum=lambda d, f: 404)
# --- REST
add("E1", klines=lambda rows, q, n: [] if n == 1 else rows)
add("E3", klines=lambda rows, q, n: [] if n <= 3 else rows)
add("ENULL", klines=lambda rows, q, n: None if n == 1 else rows)
add("EOBJ", klines=lambda rows, q, n: {} if n == 1 else rows)
add("EMID", klines=lambda rows, q, n: [] if n == 2 else rows[:100])
def capped(n: int) -> Callable[..., Any]:
    return lambda rows, q, _: rows[:n]
add("P500", klines=capped(500))
add("P100", klines=capped(100))
add("P7", "1h", klines=capped(7))
add("PNEW", klines=lambda rows, q, n: rows[-100:])
add("PDESC", klines=lambda rows, q, n: rows[:100][::-1])
add("PDUP", klines=lambda rows, q, n: [one for row in rows[:100] for one in (row, row)])
add("PSTUCK", klines=lambda rows, q, n: [binance.kline(FIRST + 3 * DAY, "5m")])
add("PBEFORE", klines=lambda rows, q, n: ([binance.kline(datetime.fromtimestamp(rows[0][0] / 1000, FIRST.tzinfo) - 5 * HOUR / 60, "5m")] + rows)[:100] if rows else [])
def odd(change: Callable[[Row], Any], once: bool = True) -> Callable[..., Any]:
    """The row of 2026-11-18 06:00, the first time it is sent."""
    at = ms(instant("2026-11-18 06:00"))
    return lambda rows, q, n: [change(list(r)) if r[0] == at and (n == 1 or not once) else r for r in rows]
def put(place: int, value: Any) -> Callable[..., Any]:
    return odd(lambda row: [*row[:place], value, *row[place + 1 :]])
for number, value in enumerate(["tomorrow", True, {}, 1e20, None, [1], "", -5]):
    add(f"ODDT{number}", klines=put(0, value))
for number, value in enumerate([None, "NaN", "1e400", "-1", {}, [], True, "0", "", "Infinity", "1,5"]):
    add(f"ODDP{number}", klines=put(4, value))
add("ODDV", klines=put(5, "-3"))
add("ODDK", klines=put(9, "1e30"))
add("ODDROW", klines=odd(lambda row: {"a": 1}))
add("ODDNULL", klines=odd(lambda row: None))
add("ODD11", klines=odd(lambda row: row[:11]))
add("ODD3", klines=odd(lambda row: row[:3]))
add("ODDNUM", klines=lambda rows, q, n: [[float(c) if 0 < i < 6 else c for i, c in enumerate(r)] for r in rows])
# --- price and volume
def rowed(**by: str) -> Callable[..., Any]:
    return lambda rows, q, n: [[r[0], *[by.get("price", c) for c in r[1:5]], by.get("volume", r[5]), *r[6:9], by.get("taker", r[9]), *r[10:]] for r in rows]
add("PR10", "1h", first=FIRST + 3 * DAY, klines=rowed(price="0.0000000001"))
add("PR11", "1h", first=FIRST + 3 * DAY, klines=rowed(price="0.00000000011"))
add("PR9", "1h", first=FIRST + 3 * DAY, klines=rowed(price="9.9e-10"))
add("PRSCI", "1h", first=FIRST + 3 * DAY, klines=rowed(price="1.5E-8"))
add("V18", "1h", first=FIRST + 3 * DAY, klines=rowed(volume="1000000000000000000", taker="1"))
add("V17", "1h", first=FIRST + 3 * DAY, klines=rowed(volume="999999999999999999.99999999", taker="999999999999999999.99999999"))
add("V19", "1h", first=FIRST + 3 * DAY, klines=rowed(volume="1000000000000000001"))

# --- derivatives
LATER: set[str] = set()
def derived(symbol: str, **more: Any) -> None:
    add(symbol, "1h", futures=more.pop("futures", f"{symbol}USDT"), **more)
def metrics(change: Callable[[list[Row]], Any], day: datetime = FILE_DAY) -> Callable[[list[Row], File], Any]:
    return lambda rows, file: change(rows) if file.kind == "metrics" and file.start == day else rows
derived("DOK")
for number, value in enumerate(["-5", "0", "NaN", "1e400", "", "null", "Infinity", "-0.0"]):
    # The sample of 13:00.
    derived(f"DBAD{number}", csv=metrics(lambda rows, value=value: cells(rows, 2, {155: value})))
    derived(f"DRAT{number}", csv=metrics(lambda rows, value=value: cells(rows, 6, {155: value})))
derived("DHOLE", csv=metrics(lambda rows: rows[:144] + rows[168:]))
derived("DHALF", csv=metrics(lambda rows: rows[:100]))
derived("DTAIL", csv=metrics(lambda rows: rows[100:]))
derived("DZERO", csv=metrics(lambda rows: rows[:0]))
derived("DALT", csv=metrics(lambda rows: rows[::2]))
derived("DCK", checksum=lambda d, f: (f"{d}" if f.kind != "metrics" else "0" * 64).encode())
derived("D404", zip=lambda t, f: 404 if f.kind == "metrics" else packed(t, f.name))
derived("D403", zip=lambda t, f: 403 if f.kind == "metrics" else packed(t, f.name))
derived("DZTWO", zip=lambda t, f: zipped({f"{f.name}.csv": t, "x.txt": "x"}))
def shifted(seconds: int) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [[f"{datetime.fromisoformat(r[0]) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}", *r[1:]] for r in rows]
derived("DJIT2", csv=metrics(shifted(2)))
derived("DJIT30", csv=metrics(shifted(30)))
derived("DJITM1", csv=metrics(shifted(-1)))
derived("DJITMX", csv=metrics(lambda rows: [row for n, r in enumerate(rows) for row in shifted([-2, 0, 1][n % 3])([r])]))
derived("DDUP", csv=metrics(lambda rows: [one for row in rows for one in (row, row)]))
derived("DDESC", csv=metrics(lambda rows: rows[::-1]))
derived("DSYM", csv=metrics(lambda rows: cells(rows, 1, dict.fromkeys(range(288), "ETHUSDT"))))
derived("DISO", csv=metrics(lambda rows: [[r[0].replace(" ", "T"), *r[1:]] for r in rows]))
derived("DFRAC", csv=metrics(lambda rows: [[r[0] + ".000", *r[1:]] for r in rows]))
derived("DEPOCH", csv=metrics(lambda rows: [[str(ms(instant(r[0]))), *r[1:]] for r in rows]))
derived("DEXTRA", csv=metrics(lambda rows: binance.METRICS + ",new\n" + "".join(",".join([*r, "9"]) + "\n" for r in rows)))
derived("DORDER", csv=metrics(lambda rows: ",".join(binance.METRICS.split(",")[::-1]) + "\n" + "".join(",".join(r[::-1]) + "\n" for r in rows)))
derived("DNOHEAD", csv=metrics(lambda rows: text_of(rows)))
derived("DDATE0", csv=metrics(lambda rows: cells(rows, 0, {155: "0000-00-00 00:00:00"})))
derived("DWORSE", csv=metrics(lambda rows: cells(rows, 2, dict.fromkeys(range(288), "0")) if "later" in LATER else rows))
derived("DBETTER", csv=metrics(lambda rows: cells(rows, 2, {155: "777"}) if "later" in LATER else rows))
def stat(word: str, field: str, value: Any) -> Callable[..., Any]:
    at = ms(instant("2026-11-18 05:55"))
    return lambda asked, rows, q, n: [{**r, field: value} if asked == word and r["timestamp"] == at else r for r in rows]
for number, value in enumerate(["-5", "0", None, {}, "NaN", "1e400", 1e300, True]):
    derived(f"RBAD{number}", statistics=stat("openInterestHist", "sumOpenInterest", value))
    derived(f"RRAT{number}", statistics=stat("globalLongShortAccountRatio", "longAccount", value))
for number, value in enumerate(["soon", None, {}, True]):
    derived(f"RTIME{number}", statistics=stat("openInterestHist", "timestamp", value))
derived("RCAP", statistics=lambda word, rows, q, n: rows[:50])
derived("RNEW", statistics=lambda word, rows, q, n: rows[-50:])
derived("REMPTY", statistics=lambda word, rows, q, n: [] if n == 1 else rows)
derived("RNULL", statistics=lambda word, rows, q, n: None if n == 1 else rows)
derived("RERR", statistics=lambda word, rows, q, n: (200, '{"code":-1,"msg":"x"}') if n == 1 else rows)
# --- funding
E8 = binance.every_eight_hours
derived("FOK", first=instant("2026-08-01"))
derived("FSTOP", settles=lambda a, b: [at for at in E8(a, b) if at <= instant("2026-11-17 08:00")])
def changing(a: datetime, b: datetime) -> list[datetime]:
    steps = [(instant("2020-01-01"), 8), (instant("2026-11-16"), 4), (instant("2026-11-18"), 1), (instant("2030-01-01"), 1)]
    return [at for (start, hours), (end, _) in zip(steps, steps[1:], strict=False) for at in grid(max(a, start), min(b, end), hours * HOUR)]
derived("F841", settles=changing)
derived("FCAP", first=instant("2026-08-01"), funding=lambda rows, q, n: rows[:10])
derived("FNEW", first=instant("2026-08-01"), funding=lambda rows, q, n: rows[-10:])
derived("FEMPTY", funding=lambda rows, q, n: [] if n == 1 else rows)
def october(change: Callable[[list[Row]], Any]) -> Callable[[list[Row], File], Any]:
    return lambda rows, file: change(rows) if file.kind == "fundingRate" and file.start == instant("2026-10-01") else rows
for name, change in {"FHOLE": lambda r: r[:30] + r[40:], "FWEEK": lambda r: r[:21], "FTAIL": lambda r: r[21:], "FZERO": lambda r: r[:0],
                     "FDUP": lambda r: [x for y in r for x in (y, y)], "FH0": lambda r: cells(r, 1, dict.fromkeys(range(99), "0")),
                     "FHB": lambda r: cells(r, 1, dict.fromkeys(range(99), "")), "FH8": lambda r: cells(r, 1, dict.fromkeys(range(99), "8.0")),
                     "FNAN": lambda r: cells(r, 2, {50: "NaN"}), "F400": lambda r: cells(r, 2, {50: "1e400"}), "FT": lambda r: cells(r, 0, {50: "x"}),
                     "FJIT": lambda r: [[str(int(x[0]) + 1900), *x[1:]] for x in r], "FUS": lambda r: [[x[0] + "000", *x[1:]] for x in r]}.items():
    derived(name, first=instant("2026-10-01"), csv=october(change))
derived("FCK", first=instant("2026-10-01"), checksum=lambda d, f: ("0" * 64).encode())
def settled(field: str, value: Any) -> Callable[..., Any]:
    at = ms(instant("2026-11-16 08:00"))
    return lambda rows, q, n: [{**r, field: value} if r["fundingTime"] == at else r for r in rows]
for number, value in enumerate([None, "NaN", "1e400", {}, "", "2"]):
    derived(f"FR{number}", funding=settled("fundingRate", value))
for number, value in enumerate([None, "soon", {}, "1e3"]):
    derived(f"FTIME{number}", funding=settled("fundingTime", value))
derived("FMS", funding=lambda rows, q, n: [{**r, "fundingTime": r["fundingTime"] + 47} for r in rows])
# --- contracts on many coins
MULTIPLES = {"M1000": ("PEPEUSDT", "1000PEPEUSDT", 1000), "M1M": ("MOGUSDT", "1000000MOGUSDT", 1_000_000), "M1MB": ("BABYUSDT", "1MBABYUSDT", 1_000_000),
             "MSATS": ("1000SATSUSDT", "1000SATSUSDT", 1), "MINCH": ("1INCHUSDT", "1INCHUSDT", 1), "MUSDC": ("BONKUSDT", "1000BONKUSDC", 1000),
             "MREV": ("1000CATUSDT", "CATUSDT", Decimal("0.001")), "MONLY": ("", "1000FLOKIUSDT", 1), "MXEC": ("XECUSDT", "1000XECUSDT", 1000),
             "M0G": ("0GUSDT", "0GUSDT", 1), "MLUNA": ("LUNAUSDT", "LUNA2USDT", 1), "M4": ("4USDT", "4USDT", 1)}
for name, (spot, futures, _) in MULTIPLES.items():
    derived(name, spot=spot, futures=futures)
# --- hosts
HOSTS = {"H503": ("binance-archive", (503, {"Retry-After": "1"}, b"SlowDown")), "H403": ("binance-archive", (403, {}, b"<Error/>")),
         "H429": ("binance-archive", (429, {"Retry-After": "3600"}, b"")), "H200": ("binance-archive", (200, {}, b"<html>login</html>")),
         "H302": ("binance-archive", (302, {"Location": "/binance-archive/x"}, b"")), "H451": ("binance-archive", (451, {}, b"")),
         "HREST": ("binance-spot", (503, {"Retry-After": "1"}, b"")), "HFUT": ("binance-futures", (503, {}, b"")), "HF451": ("binance-futures", (451, {}, b""))}
for name in HOSTS:
    derived(name)
    CASES[name].timeframe = "5m"


@pytest.fixture(scope="module")
def played(make_warehouse: MakeWarehouse) -> Iterator[tuple[Warehouse, Venue]]:
    warehouse = make_warehouse("variations")
    only = {"polygon": "", "yahoo": "", "coinmetrics": "", "source_priority": "binance"}
    warehouse.assets(
        [
            crypto(symbol, case.timeframe, **only, active_from=f"{case.first:%Y-%m-%d}", binance_futures=case.futures,
                   binance=f"{symbol}USDT" if case.spot is None else case.spot)
            for symbol, case in CASES.items()
        ]
    )
    with pytest.MonkeyPatch.context() as patch, serving(Venue(NOW, twists={s: c.twist for s, c in CASES.items()})) as venue:
        patch.chdir(warehouse.project.directory)
        for name, value in {**warehouse.database.environment, **environment(venue.url)}.items():
            patch.setenv(name, value)
        patch.setattr(PATIENCE, "backoff", ())

        def run(now: datetime, *arguments: str) -> str:
            venue.now = warehouse.now = now
            patch.setenv("WAREHOUSE_NOW", now.isoformat())
            forget()
            if "keep" not in LATER:
                unblock("binance")
            result = CliRunner().invoke(app, list(arguments))
            print(f"== {now} {arguments} exit {result.exit_code}, {len(venue.asked)} requests")
            with open(os.environ.get("CASESB_LOG", "/tmp/casesb/run.log"), "a") as log:
                log.write(f"== {now} {arguments} {result.exit_code}\n{result.output}\n")
            assert result.exit_code in (0, 1, 3), result.output
            return result.output

        usual = " ".join(symbol for symbol in CASES if symbol not in HOSTS)
        run(NOW, "extract", "--symbols", usual)
        first = len(venue.asked)
        for symbol in CASES:
            venue.calls[symbol, "first run"] = venue.requests("binance-spot", symbol)
        warehouse.build()
        for name, (host, answer) in HOSTS.items():
            venue.down[host] = answer
            before = len(venue.asked)
            print(name, run(NOW + timedelta(minutes=4), "extract", "--symbols", name)[-600:], len(venue.asked) - before)
            LATER.add("keep")
            print(name, run(NOW + timedelta(minutes=6), "extract", "--symbols", name)[-300:])
            LATER.discard("keep")
            venue.down.clear()
        run(NOW + timedelta(minutes=5), "extract", "--symbols", usual)
        run(NOW + timedelta(minutes=10), "extract", "--symbols", usual)
        run(NOW + 2 * HOUR, "extract")
        LATER.add("later")
        run(NOW + 2 * HOUR, "extract", "--start", "2026-11-16", "--end", "2026-11-16", "--symbols", "DWORSE DBETTER")
        print(f"{first} requests in the first run, {len(venue.asked)} in all")
        warehouse.build()
        yield warehouse, venue
        forget()


def test_all(played: tuple[Warehouse, Venue]) -> None:
    warehouse, venue = played
    bad = 0
    for symbol, case in CASES.items():
        rows = warehouse.query(
            "select timestamp, close, is_validated, revision, open_interest, funding_rate, long_short_ratio, funding_rate_percentile as pct from marts.market_data_v2 where symbol = %s and timeframe = %s", symbol, case.timeframe
        )
        end = NOW + 2 * HOUR
        wanted = {at for at in grid(case.first, end, STEP[case.timeframe]) if at + STEP[case.timeframe] <= end and not case.lacks(at)}
        found = {row["timestamp"]: row["close"] for row in rows}
        wrong = [at for at, value in found.items() if at in wanted and value != Decimal(close(at))]
        missing, more = sorted(wanted - set(found)), sorted(set(found) - wanted)
        gaps = warehouse.query("select verdict, repair_state, gap_from, gap_to, missing_bars from marts.bar_gaps where symbol = %s and repair_state <> 'repaired'", symbol)
        reasons = warehouse.query("select reason, count(*) as n from marts.rejected_bars where symbol = %s group by reason", symbol)
        statuses = {(r["origin"], r["status"], (r["error"] or "")[:150]) for r in warehouse.query("select origin, status, error from raw_binance.responses where symbol = %s and endpoint = 'bars' and status not in ('ok', 'unchanged')", symbol)}
        notes = [f"spot {venue.calls[symbol, 'first run']}->{venue.requests('binance-spot', symbol)} archive {venue.requests('binance-archive', symbol)}"]
        if missing or wrong or more:
            bad += 1
            notes.append(f"MISSING {len(missing)} {missing[:1]}..{missing[-1:]} WRONG {len(wrong)} {wrong[:1]} MORE {len(more)}")
        notes += [f"gap {g['verdict']} {g['repair_state']} {g['missing_bars']} {g['gap_from']}" for g in gaps[:3]]
        notes += [f"rejected {r['reason']} {r['n']}" for r in reasons]
        invalid = sum(not row["is_validated"] for row in rows)
        if invalid:
            notes.append(f"invalid {invalid}")
        if case.futures:
            step, settles = STEP[case.timeframe], case.twist.get("settles", E8)
            times = settles(instant("2026-05-01"), NOW + DAY)
            many = MULTIPLES.get(symbol, (0, 0, 1))[2]
            oi = {r["timestamp"]: (r["open_interest"], Decimal(interest(r["timestamp"] + step)) * many) for r in rows}
            fr = {r["timestamp"]: (r["funding_rate"], Decimal(binance.rate(max(t for t in times if t <= r["timestamp"] + step)))) for r in rows}
            for label, pairs in (("OI", oi), ("FR", fr)):
                odd_ones = {at: pair for at, pair in pairs.items() if pair[0] != pair[1]}
                if odd_ones:
                    at = min(odd_ones)
                    null = sum(pair[0] is None for pair in odd_ones.values())
                    notes.append(f"{label} odd {len(odd_ones)} ({null} null) from {at:%m-%d %H:%M} {odd_ones[at]} to {max(odd_ones):%m-%d %H:%M}")
            lsr = [r["timestamp"] for r in rows if r["long_short_ratio"] != Decimal("0.6")]
            if lsr:
                notes.append(f"LSR odd {len(lsr)} {min(lsr):%m-%d %H:%M}")
            if case.first < instant("2026-11-01") and (nulls := [r["timestamp"] for r in rows if r["pct"] is None and r["timestamp"] > case.first + 12 * DAY]):
                notes.append(f"PCT null {len(nulls)}")
            other = warehouse.query("select kind, reason, count(*) as n from marts.rejected_rows where symbol = %s group by 1, 2", symbol)
            notes += [f"{r['kind']} {r['reason']} {r['n']}" for r in other]
        revised = sum(row["revision"] > 1 for row in rows)
        if revised:
            notes.append(f"revised {revised}")
        notes += [f"{s}" for s in sorted(statuses, key=str)[:2]]
        print(f"{symbol:9} {'; '.join(notes)}")
    print(bad, "of", len(CASES))
