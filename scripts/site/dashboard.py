"""The dashboard and the symbol pages, from marts."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row

from extract.core import settings
from extract.core.places import IS_INSTALLED, PRODUCT
from scripts.reading.features import Feature, registered
from scripts.site import pieces
from scripts.site.pages import environment, markdown, write
from scripts.site.queries import read

HERE = Path(__file__).parent
CHARTS = HERE / "node_modules" / "lightweight-charts"
CHARTS_SCRIPT = CHARTS / "dist" / "lightweight-charts.standalone.production.js"
# An installed product has them in the package: a folder `docs` where somebody works may be theirs.
GUIDES = PRODUCT / "docs" if IS_INSTALLED else Path("docs")
# More than a slow line needs for its 3 MB.
NPM_SECONDS = 120
NPM_RETRY_SECONDS = 3_600
LOCK = "lightweight-charts.lock.json"
DAY = 86_400
# A scheduled turn makes the pages again when they are older: nobody looks at each turn's, and they took 3 of its 16 s.
EVERY = 3600


@dataclass(frozen=True)
class Built:
    """What a build wrote. files, size_bytes: of all of the site; pieces: of histories, whose content is another one now;
    remedy: why there are no charts and what to do, None where there are."""

    files: int
    size_bytes: int
    pieces: int
    seconds: float
    remedy: str | None

    def __str__(self) -> str:
        text = f"{self.files} files, {self.size_bytes / 1e6:.1f} MB, {self.pieces} of histories new, in {self.seconds:.1f} s"
        return text if self.remedy is None else f"{text}; without charts: {self.remedy}"


def build(target: Path | None = None, *, url: str | None = None, interval_seconds: int | None = None) -> Built:
    """Write index.html, symbol.html and their data into `target` (by default site/); docs that are there stay.

    url: the warehouse, by default the one of the settings. interval_seconds: how often runs are meant to happen, by
    default as often as they did; a page that is older than twice that says so.
    LookupError: the marts are not there, or older than this site: `make build` makes them.
    """
    started = time.monotonic()
    target = target or directory()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with connect(url) as connection:
            state = _state(connection)
            about = about_data(connection)
            features = registered(connection)
            written = pieces.write_series(
                connection, target / "data", state["series"], features, is_frozen=about["frozen_now"] is not None
            )
            for one in state["series"]:
                one["corrected_bars"] = written.corrected.get(pieces.key_of(one), 0)
            symbols = _symbols(connection, state["series"])
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName) as error:
        raise LookupError(
            f"the marts are not built, or older than the site ({error.diag.message_primary}): run `make build`"
        ) from error
    remedy = copy_assets(target)
    page = {
        "built_at": int(time.time()),
        "interval_seconds": interval_seconds or _interval(state["runs"]),
        **about,
        **links(target, write_guides(target)),
        "has_charts": remedy is None,
        "remedy": remedy,
    }
    catalog = [_menu(state["series"]), [_shown(feature) for feature in features], _quotes(symbols)]
    write(target / "data" / "series.js", f"warehouse.series({_script(catalog)[1:-1]});\n")
    templates = environment()
    values = {
        **state,
        "symbols": symbols,
        "charted": {(one["asset_class"], one["symbol"]): one["charted"] for one in symbols},
    }
    for name in ("index", "symbol"):
        text = templates.get_template(f"{name}.html.j2").render(page=page, active=name, **values)
        write(target / f"{name}.html", text)
    rooms = (path for path in target.iterdir() if path.name != "data")
    others = [path for room in rooms for path in (room, *room.rglob("*")) if path.is_file()]
    size = written.size_bytes + sum(path.stat().st_size for path in others)
    return Built(len(others) + written.files + 2, size, written.pieces, time.monotonic() - started, remedy)


def links(target: Path, has_guides: bool) -> dict[str, Any]:
    """What the navigation of a page leads to, as far as it is there."""
    return {
        "documents": [name for name in ("docs", "lineage") if (target / name / "index.html").exists()],
        "has_guides": has_guides,
        "has_dictionary": (target / "features.html").exists(),
    }


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


def copy_assets(target: Path) -> str | None:
    """Style sheet, scripts and the charting library with its licence; why that is not there and what to do, else None."""
    assets = target / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "assets").iterdir():
        shutil.copyfile(path, assets / path.name)
    if CHARTS_SCRIPT.exists():
        _put_charts(assets, CHARTS)
        return None
    lock = assets / LOCK
    is_there = lock.exists() and lock.read_bytes() == (HERE / "package-lock.json").read_bytes()
    return None if is_there else _fetch_charts(assets)


def _put_charts(assets: Path, package: Path) -> None:
    """Copy the library, its licence, and last the lock that tells which version it is."""
    shutil.copyfile(package / CHARTS_SCRIPT.relative_to(CHARTS), assets / "lightweight-charts.js")
    shutil.copyfile(package / "LICENSE", assets / "lightweight-charts.LICENSE.txt")
    shutil.copyfile(HERE / "package-lock.json", assets / LOCK)


def _fetch_charts(assets: Path) -> str | None:
    """Let npm fetch the charting library, so that the site of every command has charts; see copy_assets. Without npm, or
    when it failed within the last hour, nothing is asked for: the site belongs to every turn of the scheduler."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed; install Node.js with npm, then `market site`"
    failed = assets / "npm-failed.txt"
    if failed.exists() and time.time() - failed.stat().st_mtime < NPM_RETRY_SECONDS:
        return failed.read_text()
    with tempfile.TemporaryDirectory() as directory:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, Path(directory) / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=NPM_SECONDS)
            problem = done.stderr.strip().splitlines()[:1] if done.returncode else []
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = [str(error)]
        found = Path(directory) / "node_modules" / "lightweight-charts"
        if not (found / CHARTS_SCRIPT.relative_to(CHARTS)).exists():
            why = " ".join(problem)[:200]
            remedy = (
                f"npm could not fetch the charting library ({why}); a build of the site an hour from now tries again"
            )
            write(failed, remedy)
            return remedy
        _put_charts(assets, found)
    failed.unlink(missing_ok=True)
    return None


def write_guides(target: Path) -> bool:
    """The guides of the project as pages, so that an alert can lead to its line of the runbook; whether there are any.
    Written when a guide or a template is newer than they are."""
    guides = target / "guides"
    guides.mkdir(exist_ok=True)
    paths = {path.stem: path for path in sorted((settings.project_directory() / GUIDES).rglob("*.md"))}
    made_from = [*paths.values(), *(HERE / "templates").iterdir(), *HERE.glob("*.py")]
    pages = {name: guides / f"{name}.html" for name in paths}
    shown = links(target, bool(paths))
    stamp = orjson.dumps([sorted(paths), shown, max(path.stat().st_mtime for path in made_from)])
    mark = guides / "written.json"
    if mark.exists() and mark.read_bytes() == stamp and all(path.exists() for path in pages.values()):
        return bool(paths)
    template = environment().get_template("guide.html.j2")
    texts = {name: path.read_text() for name, path in paths.items()}
    sections: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, path in paths.items():
        heading = re.search(r"^# (.+)$", texts[name], re.MULTILINE)
        sections[path.parent.name].append((name, heading[1] if heading else name))
    page = {"built_at": int(time.time()), "interval_seconds": DAY, "frozen_now": None, **shown}
    for name in paths:
        text = markdown(texts[name], paths)
        write(
            pages[name],
            template.render(page=page, active="guides", root="../", title=name, text=text, sections=sections),
        )
    for path in set(guides.glob("*.html")) - set(pages.values()):
        path.unlink()
    write(mark, stamp.decode())
    return bool(paths)


# ---------------------------------------------------------------- what the dashboard shows

TILES = (
    "days", "series", "sources", "source_hours", "agreement", "corrections", "gaps", "splits", "rejected", "alerts", "runs",
    "steps",
)  # fmt: skip


def _state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """The answers of all queries of the dashboard, by name."""
    cursor = connection.cursor(row_factory=dict_row)

    def rows(name: str) -> list[dict[str, Any]]:
        return cursor.execute(read(name)).fetchall()

    totals = rows("totals")[0]
    state: dict[str, Any] = {name: rows(name) for name in TILES}
    for one in state["series"]:
        one["minutes"] = pieces.minutes(one["timeframe"])
    state["series"].sort(key=lambda one: (one["symbol"], one["asset_class"], one["minutes"]))
    hours = defaultdict(list)
    for row in state.pop("source_hours"):
        hours[row["source"]].append(row)
    return {**state, "hours": hours, "totals": totals}


def about_data(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What a page says above its data. frozen_now: the marts' own time where that stands still (demo, replays), to which
    ages count instead of the reader's clock, else None; synthetic: the symbols of the demo that are, else None."""
    cursor = connection.cursor(row_factory=dict_row)
    clock = cursor.execute(read("clock")).fetchall()[0]
    stands_still = clock["marts_now"] is not None and abs(clock["server_now"] - clock["marts_now"]) > 60
    # A user of market_read may not look into ops; only `make demo`, whose user owns all, has that table.
    is_demo = connection.execute(
        "select exists (select from pg_tables where schemaname = 'ops' and tablename = 'demo'"
        " and has_schema_privilege(schemaname, 'usage'))"
    ).fetchone() == (True,)
    return {
        "frozen_now": clock["marts_now"] if stands_still else None,
        "synthetic": cursor.execute(read("demo")).fetchall()[0]["synthetic"] if is_demo else None,
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


# ---------------------------------------------------------------- what every page knows of all series


def _symbols(connection: psycopg.Connection[Any], series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Series folded by symbol, each with its newest price, its change on the session before, and its last closes."""
    folded: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in series:
        folded[one["symbol"], one["asset_class"]].append(one)
    quoted, charted = [], []
    for rows in folded.values():
        # A week knows no change on the day, so it is quoted only where there is nothing else.
        newest = max(rows, key=lambda row: (bool(row["bars"]), row["minutes"] <= DAY // 60, row["closed_at"] or 0))
        daily = min(rows, key=lambda row: (not row["bars"], abs(row["minutes"] - DAY // 60), row["minutes"]))
        quoted.append(newest["timeframe"])
        charted.append(daily["timeframe"])
    symbols, classes = zip(*folded, strict=True) if folded else ((), ())
    parameters = {"symbols": list(symbols), "classes": list(classes), "quoted": quoted, "charted": charted}
    answer = connection.cursor(row_factory=dict_row).execute(read("quotes"), parameters).fetchall()
    quotes = {(row["symbol"], row["asset_class"]): row for row in answer}
    return [
        {
            **quotes[name],
            "timeframe": timeframe,
            "charted": daily,
            "series": rows,
            "total": _total(rows, timeframe, daily),
        }
        for (name, rows), timeframe, daily in zip(folded.items(), quoted, charted, strict=True)
    ]


def _total(rows: list[dict[str, Any]], quoted: str, charted: str) -> dict[str, Any]:
    """What a symbol's row says of its series: sums; the age is that of its newest bar, the sessions those of its days."""
    by_timeframe = {row["timeframe"]: row for row in rows}
    bars = sum(row["bars"] for row in rows)
    scored = [row for row in rows if row["avg_quality_score"] is not None and row["bars"]]
    weight = sum(row["bars"] for row in scored)
    return {
        "bars": bars,
        "avg_quality_score": sum(row["avg_quality_score"] * row["bars"] for row in scored) / weight if weight else None,
        "strip": by_timeframe[charted]["strip"],
        "source_in_use": ", ".join(sorted({row["source_in_use"] for row in rows if row["source_in_use"]})),
        **{name: by_timeframe[quoted][name] for name in ("closed_at", "newest_bar")},
        **{
            name: sum(row[name] or 0 for row in rows)
            for name in ("validated_bars", "open_gaps", "anomalies", "corrected_bars")
        },
    }


def _menu(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a page knows of every series before its data are loaded. folder: where these are, in data/."""
    names = (
        "symbol", "asset_class", "timeframe", "minutes", "bars", "source_in_use", "open_gaps", "first_bar", "newest_bar",
        "closed_at", "late_from", "critical_from", "stale_from",
    )  # fmt: skip
    return [
        {name: one[name] for name in names}
        | {"folder": pieces.folder_name(one) if one["bars"] else None, "quality": _number(one["avg_quality_score"])}
        for one in series
    ]


def _quotes(symbols: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Price, change on the session before and time of the bar of each symbol that has a price."""
    return {
        f"{one['asset_class']}/{one['symbol']}": [_number(one["price"]), _number(one["change"]), one["quoted_bar"]]
        for one in symbols
        if one["price"] is not None
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _shown(feature: Feature) -> dict[str, Any]:
    """What the symbol page knows of a feature: its position, how it is written, whether its sign says something."""
    is_signed = feature.lowest is None or feature.lowest < 0
    return {"name": feature.name, "group": feature.group, "unit": feature.unit, "signed": is_signed}


def _script(value: Any) -> str:
    """A value as a JavaScript literal."""
    return orjson.dumps(value, default=lambda other: float(other)).decode()
