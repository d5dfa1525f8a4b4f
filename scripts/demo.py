"""`market demo`: the whole pipeline as it is, on an offline world that anybody can look at.

Data flow: the simulator's demo data set (real daily stocks of 2000-2013, synthetic crypto) -> `market extract` and
`market backfill` -> `dbt build` -> a day later the same again, with a late and two amended bars -> a summary.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from extract.calendar.timeframes import STEPS
from extract.core import database, provenance, sources
from extract.core.settings import ConfigurationError
from scripts.project import ROOT, make_missing
from scripts.reading.features import registered

# The world as it stood after the New York session of 2013-02-28, and a day later.
FIRST_DAY, SECOND_DAY = "2013-03-01T02:00:00Z", "2013-03-02T02:00:00Z"
STOCKS = ("AAPL", "MSFT", "IBM", "GOOG", "META")
COINS = ("BTC", "ETH", "SOL")

# Left out of the first day's answers, so that it arrives late.
LATE = {
    "kind": "missing", "provider": "binance-spot", "symbol": "ETHUSDT", "timeframe": "1h",
    "start": "2013-02-28T20:00:00Z", "end": "2013-02-28T21:00:00Z",
}  # fmt: skip
# What the providers say differently on the second day.
AMENDED = (
    {
        "kind": "amended", "provider": "polygon", "symbol": "IBM", "timeframe": "1d", "field": "volume",
        "factor": "1.02", "start": "2013-02-27T05:00:00Z", "end": "2013-02-28T04:59:59Z",
    },
    {
        "kind": "amended", "provider": "binance-spot", "symbol": "BTCUSDT", "timeframe": "1h", "field": "close",
        "factor": "1.004", "start": "2013-02-28T12:00:00Z", "end": "2013-02-28T13:00:00Z",
    },
)  # fmt: skip

# What this project makes in a database, and all that a repeated demo removes.
SCHEMAS = (
    *sources.schemas(), "ops", "seeds", "staging", "intermediate", "marts", "snapshots",
)  # fmt: skip
EXAMPLE = """\
make psql SQL="
  select timestamp, close, return_1d, atr, trend_direction, revision
  from marts.market_data_v2 where symbol = 'IBM' and timeframe = '1d'
  order by timestamp desc limit 5\""""

LOG = ROOT / ".warehouse" / "demo.log"
LOCK = LOG.with_suffix(".lock")
# What the extra `demo` brings.
NEEDED = ("aiohttp", "bokeh_sampledata", "exchange_calendars")
console = Console(highlight=False)


class StepFailed(Exception):
    """A command of the demo failed; the message holds the end of its output."""


def main() -> int:
    """Run the demo; the exit code is 0 only if every step went well."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigurationError(
            f"the demo needs {', '.join(missing)}: `make demo` installs that, or pip install 'market-warehouse[demo]'"
        )
    make_missing(ROOT)
    LOG.parent.mkdir(exist_ok=True)
    with _alone():
        LOG.write_text("")
        return _play()


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time: a second one would empty the database of the first. Raises LockHeld."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise database.LockHeld(
                f"another demo is running here: wait for its end ({LOG.relative_to(ROOT)} says how far it is)"
            ) from None
        yield


def _play() -> int:
    from scripts.simulator import running

    started = time.monotonic()
    try:
        with step("Postgres"):
            database.url()
        _prepare()
        with running("demo", FIRST_DAY, process=True) as simulator:
            simulator.add_fault(**LATE)
            with step("Day 1: extract what the registry asks for"):
                _run("extract", simulator.environment())
            with step("Day 1: backfill the stocks from 2000 on"):
                window = ["--start", "2000-01-01", "--end", "2013-02-28"]
                _run("backfill", simulator.environment(), *window, "--symbols", " ".join(STOCKS), "--timeframes", "1d")
            with step("Day 1: dbt build"):
                _build(simulator.environment())
            known = _count()
            simulator.clear_faults()
            for fault in AMENDED:
                simulator.add_fault(**fault)
            simulator.set_clock(SECOND_DAY)
            with psycopg.connect(database.url(), autocommit=True) as connection:
                provenance.set_clock(connection, SECOND_DAY)
            with step("Day 2: extract what is new; one bar comes late, two are amended"):
                _run("extract", simulator.environment())
            with step("Day 2: dbt build"):
                _build(simulator.environment())
            with step("Site: charts and docs; every feature checked against its definition"):
                _run("docs", simulator.environment())
                _run("site", simulator.environment())
    except StepFailed as failure:
        console.print(f"[red]The demo failed.[/] {failure}\nAll of its output: {LOG.relative_to(ROOT)}", markup=True)
        return 1
    _summarise(_count() - known, time.monotonic() - started)
    return 0


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that something is going on, then that it is done and how long it took."""
    started = time.monotonic()
    try:
        with console.status(f"{title} ..."):
            yield
    except BaseException:
        console.print(f"[red]✗[/] {title}")
        raise
    console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")


def _prepare() -> None:
    """Mark the database as the demo's; one that an earlier demo filled is emptied, any other with data is refused."""
    with psycopg.connect(database.url(), autocommit=True) as connection:
        if provenance.is_marked(connection):
            for schema in SCHEMAS:
                connection.execute(f"drop schema if exists {schema} cascade")
        elif provenance.holds_answers(connection):
            raise ConfigurationError(
                "this database holds answers of real providers, with which the demo's synthetic ones must not mix:"
                " set PGDATABASE to another one, or remove the embedded database with `make clean`"
            )
        connection.execute(provenance.CREATE)
        provenance.set_clock(connection, FIRST_DAY)
        connection.cursor().executemany(
            "insert into ops.demo values (%s, %s, %s)",
            [(symbol, False, "real daily prices as traded, 2000-2013, from bokeh-sampledata") for symbol in STOCKS]
            + [(symbol, True, "made by scripts/simulator, the same on every machine") for symbol in COINS],
        )


def _run(command: str, simulated: dict[str, str], *arguments: str) -> None:
    _execute(f"market {command}", [sys.executable, "-m", "scripts.cli", command, *arguments], simulated)


def _build(simulated: dict[str, str]) -> None:
    # Unit tests test the SQL, not the data: `market run` leaves them out as well.
    options = ["--no-use-colors", "build", "--exclude-resource-type", "unit_test"]
    _execute("dbt build", [str(Path(sys.executable).parent / "dbt"), *options], simulated)


def _execute(name: str, command: list[str], simulated: dict[str, str]) -> None:
    """Run one of the project's own commands against the simulator; its output goes to the log."""
    extra = {"COINMETRICS_ENABLED": "true", "PYTHONUNBUFFERED": "1"}
    with LOG.open("ab") as log:
        begin = log.tell()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **simulated, **extra},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    if done.returncode:
        output = LOG.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
        tail = "\n".join(output[-25:])
        raise StepFailed(f"`{name}` ended with exit code {done.returncode}:\n{tail}")


def _count() -> int:
    return int(_query("select count(*) as bars from marts.market_data_v2")[0]["bars"])


def _query(statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(database.url(), row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(statement).fetchall()


def _summarise(new_bars: int, seconds: float) -> None:
    console.print()
    console.print(_symbols())
    console.print(_features())
    console.print(_corrections())
    _print_totals(new_bars, seconds)


def _symbols() -> Table:
    table = _table("What marts.market_data_v2 holds", "symbol", "data", "source", "timeframes")
    for name in ("bars", "from", "to", "valid"):
        table.add_column(name, justify="right")
    table.caption = "Stocks: real prices as traded. [yellow]Crypto: synthetic, made by the simulator.[/]"
    for row in _query(
        """
        select
            bars.symbol, demo.is_synthetic,
            string_agg(distinct bars.source, ' ') as sources,
            array_agg(distinct bars.timeframe) as timeframes,
            count(*) as bars,
            min(bars.timestamp) as first_at,
            max(bars.timestamp) as last_at,
            avg(case when bars.is_validated then 1.0 else 0.0 end) as valid
        from marts.market_data_v2 as bars
        inner join ops.demo as demo on bars.symbol = demo.symbol
        group by bars.symbol, demo.is_synthetic
        order by demo.is_synthetic, bars.symbol
        """
    ):
        timeframes = sorted(row["timeframes"], key=list(STEPS).index)
        table.add_row(
            f"[bold]{row['symbol']}[/]",
            "[yellow]synthetic[/]" if row["is_synthetic"] else "[green]real[/]",
            row["sources"],
            " ".join(timeframes) if len(timeframes) < 3 else f"{timeframes[0]}-{timeframes[-1]}",
            f"{row['bars']:,}",
            f"{row['first_at']:%Y-%m-%d}",
            f"{row['last_at']:%Y-%m-%d}",
            f"{row['valid']:.0%}",
        )
    return table


def _features() -> Table:
    with psycopg.connect(database.url()) as connection:
        names = [feature.name for feature in registered(connection)]
    shares = ", ".join(f"count({name})::float / count(*) as {name}" for name in names)
    rows = _query(f"select asset_class, {shares} from marts.market_data_v2 group by asset_class")
    filled = {row["asset_class"]: row for row in rows}
    table = _table(f"The {len(names)} features: share of bars with a value")
    table.caption = "-: not defined for it. Less than all: too little history, or no feed then."
    half = (len(names) + 1) // 2
    for _ in range(2):
        table.add_column("feature")
        table.add_column("stocks", justify="right")
        table.add_column("crypto", justify="right")

    def cells(name: str) -> list[str]:
        return [
            name,
            f"{filled['stock'][name]:.1%}" if filled["stock"][name] else "[dim]-[/]",
            f"{filled['crypto'][name]:.1%}" if filled["crypto"][name] else "[dim]no feed[/]",
        ]

    for left, right in zip_longest(names[:half], names[half:]):
        table.add_row(*cells(left), *(cells(right) if right else ()))
    return table


def _corrections() -> Table:
    table = _table("What day 2 changed: marts.data_corrections", "bar", "opened (UTC)", "field")
    for name in ("was", "is"):
        table.add_column(name, justify="right")
    table.add_column("reason")
    for row in _query(
        """
        select bars.symbol, bars.timeframe, bars.timestamp, corrections.*
        from marts.data_corrections as corrections
        inner join marts.market_data_v2 as bars on bars.id = corrections.original_record_id
        order by bars.symbol, bars.timestamp, bars.timeframe, corrections.field_corrected
        limit 12
        """
    ):
        table.add_row(
            f"{row['symbol']} {row['timeframe']}",
            f"{row['timestamp']:%Y-%m-%d %H:%M}",
            row["field_corrected"],
            f"{row['old_value']:,.2f}",
            f"{row['new_value']:,.2f}",
            row["reason"],
        )
    return table


def _table(title: str, *columns: str) -> Table:
    """A table that fits into 80 columns."""
    return Table(
        *columns,
        title=title,
        title_style="bold",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _print_totals(new_bars: int, seconds: float) -> None:
    bars = _count()
    answers = " + ".join(f"(select count(*) from {schema}.responses)" for schema in sources.schemas())
    asked = _query(f"select {answers} as answers")[0]["answers"]
    late = _query(
        "select close, revision from marts.market_data_v2"
        " where symbol = 'ETH' and timeframe = '1h' and timestamp = '2013-02-28 20:00+00'"
    )
    quality = _query(
        """
        select
            avg(case when is_validated then 1.0 else 0.0 end) as valid,
            avg(quality_score) as score,
            (
                select count(*) from marts.bar_gaps
                where verdict in ('provider hole', 'not fetched') and place <> 'before'
            ) as gaps,
            (select count(*) from marts.rejected_bars) as rejected
        from marts.market_data_v2
        """
    )[0]
    arrived = f"there, close {late[0]['close']:,.2f}" if late else "MISSING"
    text = (
        f"{bars:,} bars from {asked:,} answers of providers, each stored as it came (raw_*), in {seconds:.0f} s.\n"
        f"{new_bars:,} came on day 2, one of them late: ETH 1h of 2013-02-28 20:00 ({arrived}).\n"
        f"{quality['valid']:.2%} of the bars passed every check, mean quality score {quality['score']:.2f};\n"
        f"{quality['gaps']:,} gaps in them (marts.bar_gaps), {quality['rejected']:,} rows rejected.\n\n"
        f"Ask it yourself:\n[bold]{EXAMPLE}[/]\n\n"
        "Which of it is synthetic?  make psql SQL='table ops.demo'\n"
        "Look at it:                open site/index.html: dashboard, charts, features, models, lineage\n"
        "What each step said:       .warehouse/demo.log\n"
        "Real data instead:         make clean, POLYGON_API_KEY=... into .env, make run (README)"
    )
    console.rule("What next", align="left")
    # Without a frame and without wrapping, so that it can be copied.
    console.print(text, soft_wrap=True)
