"""What the demo prints at its end: what there is now, what the second day changed, and what to try next."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from extract.calendar.timeframes import STEPS
from extract.core import database, sources
from scripts.reading.features import registered

EXAMPLE = """\
make psql SQL="
  select timestamp, close, return_1d, atr, trend_direction, revision
  from marts.market_data_v2 where symbol = 'IBM' and timeframe = '1d'
  order by timestamp desc limit 5\""""

console = Console(highlight=False)


def count_bars() -> int:
    """How many bars the mart holds."""
    return int(query("select count(*) as bars from marts.market_data_v2")[0]["bars"])


def query(statement: str) -> list[dict[str, Any]]:
    """The rows of a select, each by the names of its columns."""
    with psycopg.connect(database.url(), row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(statement).fetchall()


def summarise(new_bars: int, seconds: float) -> None:
    """Print it. `new_bars`: how many came on the second day; `seconds`: how long the whole demo took."""
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
    for row in query(
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
    rows = query(f"select asset_class, {shares} from marts.market_data_v2 group by asset_class")
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
    for row in query(
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
    bars = count_bars()
    answers = " + ".join(f"(select count(*) from {schema}.responses)" for schema in sources.schemas())
    asked = query(f"select {answers} as answers")[0]["answers"]
    late = query(
        "select close, revision from marts.market_data_v2"
        " where symbol = 'ETH' and timeframe = '1h' and timestamp = '2013-02-28 20:00+00'"
    )
    quality = query(
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
