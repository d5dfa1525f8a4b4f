"""The dashboard and the symbol pages, from marts."""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from extract.calendar.timeframes import STEPS
from extract.core import settings
from scripts.reading.features import Feature, registered
from scripts.site.pages import environment, markdown, write
from scripts.site.queries import of_features, read

HERE = Path(__file__).parent
CHARTS = HERE / "node_modules" / "lightweight-charts"
CHARTS_SCRIPT = CHARTS / "dist" / "lightweight-charts.standalone.production.js"
GUIDES = Path("docs")
DAY = 86_400
# A scheduled turn makes the pages again when they are older: nobody looks at each turn's, and they took 3 of its 16 s.
EVERY = 3600
# Bars of a series that its page can draw; a longer past is a query away.
BARS = 800
# What is left out of a data file where it holds for every bar.
AS_TRADED = {"t", "open", "high", "low", "close", "volume", "split_factor"}
USUAL: dict[str, Any] = {"split_factor": 1, "is_validated": True, "revision": 1, "notes": None}


@dataclass(frozen=True)
class Built:
    """What a build wrote, in all of the site."""

    files: int
    size_bytes: int
    seconds: float
    charts: bool

    def __str__(self) -> str:
        text = f"{self.files} files, {self.size_bytes / 1e6:.1f} MB, in {self.seconds:.1f} s"
        return text if self.charts else f"{text}; without charts: install npm, then `make site`"


def build(
    target: Path | None = None, *, url: str | None = None, interval_seconds: int | None = None, bars: int = BARS
) -> Built:
    """Write index.html, symbol.html and their data into `target` (by default site/); docs that are there stay.

    url: the warehouse, by default the one of the settings. interval_seconds: how often runs are meant to happen, by
    default as often as they did; a page that is older than twice that says so. bars: how many of each series are drawn.
    LookupError: the marts are not there, or older than this site: `make build` makes them.
    """
    started = time.monotonic()
    target = target or directory()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with connect(url) as connection:
            state = _state(connection)
            features = registered(connection)
            written = _write_series(connection, target / "data", state["series"], features, bars)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName) as error:
        raise LookupError(
            f"the marts are not built, or older than the site ({error.diag.message_primary}): run `make build`"
        ) from error
    has_charts = copy_assets(target)
    page = {
        "built_at": int(time.time()),
        "interval_seconds": interval_seconds or _interval(state["runs"]),
        # Ages are those of the marts' own time where that stands still (demo, replays), else of the reader's clock.
        "frozen_now": state["clock"],
        "documents": [name for name in ("docs", "lineage") if (target / name / "index.html").exists()],
        "has_runbook": write_guides(target),
        "has_dictionary": (target / "features.html").exists(),
        "has_charts": has_charts,
    }
    menu, shown = _script(_menu(state["series"], written)), _script([_shown(feature) for feature in features])
    write(target / "data" / "series.js", f"warehouse.series({menu}, {shown});\n")
    templates = environment()
    for name in ("index", "symbol"):
        write(
            target / f"{name}.html", templates.get_template(f"{name}.html.j2").render(page=page, active=name, **state)
        )
    _remove_others(target / "data", {*written.values(), "series.js"})
    files = [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return Built(len(files), size, time.monotonic() - started, has_charts)


def directory() -> Path:
    """The site of the project that is worked on, which the API serves."""
    return settings.project_directory() / "site"


def connect(url: str | None = None) -> psycopg.Connection[Any]:
    """A read-only connection, on which all selects see the same state."""
    from extract.core import database

    connection = psycopg.connect(url or database.url())
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute("set local time zone 'UTC'")
    return connection


def copy_assets(target: Path) -> bool:
    """Style sheet, scripts and, where npm has put it, the charting library with its licence; whether that is there."""
    assets = target / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "assets").iterdir():
        shutil.copyfile(path, assets / path.name)
    if not CHARTS_SCRIPT.exists():
        return False
    shutil.copyfile(CHARTS_SCRIPT, assets / "lightweight-charts.js")
    shutil.copyfile(CHARTS / "LICENSE", assets / "lightweight-charts.LICENSE.txt")
    return True


def write_guides(target: Path) -> bool:
    """The guides of the project as pages, so that an alert can lead to its line of the runbook; whether there is one."""
    guides = target / "guides"
    guides.mkdir(exist_ok=True)
    page = environment().get_template("guide.html.j2")
    paths = {path.stem: path for path in sorted((settings.project_directory() / GUIDES).rglob("*.md"))}
    for name, path in paths.items():
        write(guides / f"{name}.html", page.render(title=name, text=markdown(path.read_text(), paths)))
    return (guides / "runbook.html").exists()


# ---------------------------------------------------------------- what the dashboard shows

TILES = (
    "days", "series", "sources", "source_hours", "agreement", "corrections", "gaps", "rejected", "alerts", "runs", "steps",
)  # fmt: skip


def _state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """The answers of all queries of the dashboard, by name."""
    cursor = connection.cursor(row_factory=dict_row)

    def rows(name: str) -> list[dict[str, Any]]:
        return cursor.execute(read(name)).fetchall()

    clock, totals = rows("clock")[0], rows("totals")[0]
    stands_still = clock["marts_now"] is not None and abs(clock["server_now"] - clock["marts_now"]) > 60
    state: dict[str, Any] = {name: rows(name) for name in TILES if name != "series"}
    state["series"] = cursor.execute(read("series"), {"timeframes": list(STEPS)}).fetchall()
    hours = defaultdict(list)
    for row in state.pop("source_hours"):
        hours[row["source"]].append(row)
    # A user of market_read may not look into ops; only `make demo`, whose user owns all, has that table.
    is_demo = connection.execute(
        "select exists (select from pg_tables where schemaname = 'ops' and tablename = 'demo'"
        " and has_schema_privilege(schemaname, 'usage'))"
    ).fetchone() == (True,)
    return {
        **state,
        "hours": hours,
        "totals": totals,
        "clock": clock["marts_now"] if stands_still else None,
        "synthetic": rows("demo")[0]["synthetic"] if is_demo else None,
    }


def _interval(runs: list[dict[str, Any]]) -> int:
    """How old the page may get, seconds: the usual distance of two runs, but at least that at which turns make it; a day
    before there were three runs, and at most a day."""
    distances = [later["started_at"] - earlier["started_at"] for earlier, later in pairwise(runs[-11:])]
    return max(EVERY, min(DAY, int(median(distances)))) if len(distances) > 1 else DAY


def is_old() -> bool:
    """Whether a scheduled turn makes the site again."""
    page = directory() / "index.html"
    return not page.exists() or time.time() - page.stat().st_mtime > EVERY


# ---------------------------------------------------------------- one data file per series


def series_key(series: dict[str, Any]) -> str:
    """What follows the # of a series' address."""
    return f"{series['asset_class']}/{series['symbol']}/{series['timeframe']}"


def file_name(series: dict[str, Any]) -> str:
    """Any symbol, as a name that every file system and web server takes, and no two symbols the same."""
    symbol = re.sub(r"[^A-Z0-9]", lambda found: f"_{ord(found.group()):x}_", series["symbol"])
    return f"{series['asset_class']}.{symbol}.{series['timeframe']}.js"


def _write_series(
    connection: psycopg.Connection[Any],
    folder: Path,
    series: Iterable[dict[str, Any]],
    features: Sequence[Feature],
    bars: int,
) -> dict[str, str]:
    """Write the data files; their names by series key."""
    folder.mkdir(parents=True, exist_ok=True)
    cursor = connection.cursor(row_factory=dict_row)
    events: dict[tuple[str, str], dict[str, dict[str, list[Any]]]] = {}
    out = {}
    for one in series:
        if not one["bars"]:
            continue
        symbol = (one["symbol"], one["asset_class"])
        if symbol not in events:
            events[symbol] = _events(cursor, one)
        key, name = series_key(one), file_name(one)
        data = _columns(connection, one, features, bars) | events[symbol][one["timeframe"]]
        write(folder / name, f"warehouse.bars({_script(key)}, {_script(data)});\n")
        out[key] = name
    return out


def _columns(
    connection: psycopg.Connection[Any], series: dict[str, Any], features: Sequence[Feature], bars: int
) -> dict[str, Any]:
    """The bars as columns, without those that say nothing."""
    query = of_features("bars", features, _drawn)
    answer = connection.cursor().execute(query, {**series, "bars": bars}).fetchone()
    assert answer is not None
    columns: dict[str, list[Any]] = orjson.loads(answer[0])
    return {
        name: [_rounded(value) for value in values] if name not in AS_TRADED else values
        for name, values in columns.items()
        if any(value != USUAL.get(name) for value in values)
    }


def _drawn(feature: Feature) -> sql.Composed:
    """A feature's values as a member of the JSON object of bars.sql."""
    array = "{}, json_agg({})" if feature.unit == "word" else "{}, json_agg(cast({} as double precision))"
    return sql.SQL(array).format(sql.Literal(feature.name), sql.Identifier(feature.name))


def _shown(feature: Feature) -> dict[str, Any]:
    """What the symbol page knows of a feature: its position, how it is written, whether its sign says something."""
    is_signed = feature.lowest is None or feature.lowest < 0
    return {"name": feature.name, "group": feature.group, "unit": feature.unit, "signed": is_signed}


def _rounded(value: Any) -> Any:
    """Six significant digits of a number: a feature is drawn and read, not calculated with, and it halves the file."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _events(cursor: psycopg.Cursor[dict[str, Any]], series: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Corrections and gaps of a symbol, by timeframe."""
    out: dict[str, dict[str, list[Any]]] = defaultdict(lambda: {"corrections": [], "gaps": []})
    for kind, query in (("corrections", "bar_corrections"), ("gaps", "bar_gaps")):
        for row in cursor.execute(read(query), series).fetchall():
            timeframe = row.pop("timeframe")
            out[timeframe][kind].append({k: v for k, v in row.items() if k not in ("symbol", "asset_class")})
    return out


def _menu(series: list[dict[str, Any]], files: dict[str, str]) -> list[dict[str, Any]]:
    """What the symbol page knows of every series before its data are loaded."""
    names = (
        "symbol", "asset_class", "timeframe", "bars", "validated_bars", "source_in_use", "open_gaps", "corrected_bars",
        "first_bar", "newest_bar", "closed_at", "late_from", "critical_from", "stale_from",
    )  # fmt: skip
    return [
        {name: one[name] for name in names}
        | {
            "minutes": STEPS[one["timeframe"]] // timedelta(minutes=1),
            "file": files.get(series_key(one)),
            "quality": _number(one["avg_quality_score"]),
        }
        for one in series
    ]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _script(value: Any) -> str:
    """A value as a JavaScript literal."""
    return orjson.dumps(value, default=lambda other: float(other)).decode()


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Data of series that no longer exist."""
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
