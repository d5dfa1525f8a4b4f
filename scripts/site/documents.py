"""What explains the numbers: dbt docs, column lineage, and the feature dictionary with its check on the user's own bars."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from extract.core import settings
from scripts.site.dashboard import DAY, about_data, connect, copy_assets, directory, links, write_guides
from scripts.site.dictionary import BARS_TO_CHECK, Entry, compile_dictionary
from scripts.site.pages import environment, write

MARKDOWN = "FEATURE_DEFINITIONS.md"
# Neither page knows the others; both are long, so the link stays in sight.
WAY_BACK = (
    '<a href="../index.html" style="position:fixed;left:50%;bottom:10px;transform:translateX(-50%);z-index:9999;'
    'padding:5px 12px;border-radius:5px;background:#1f56c3;color:#fff;font:13px system-ui,sans-serif;text-decoration:none">'
    "Market warehouse</a></body>"
)


# Of the 160 models the lineage page opens on the one that everything leads to, where its address names no other.
FIRST_MODEL = (
    "<script>if (!location.search) history.replaceState(null, '', '?model=model.market_warehouse.market_data.v2&parents=1"
    "&children=1');</script>"
)

# dbt's page lets the browser load its templates' placeholders before they are filled: a thousand errors in the console.
# And its icon is a line of its source that its own build leaves out.
UNFILLED = {
    '<use xlink:href="{{': '<use ng-attr-xlink:href="{{',
    "${require('./assets/favicons/favicon.ico')}": "../assets/icon.svg",
}


class DocumentsFailed(RuntimeError):
    """A tool did not write its pages; the message holds the end of its output."""


class FeaturesWrong(Exception):
    """Stored values that the reference formulas do not give; the message names the features and a bar of each."""


def build_documents(
    target: Path | None = None,
    *,
    url: str | None = None,
    project: Path | None = None,
    variables: Mapping[str, str] | None = None,
    bars_to_check: int = BARS_TO_CHECK,
) -> list[Entry]:
    """Write docs/, lineage/, features.html and FEATURE_DEFINITIONS.md into `target`; the entries of the dictionary.

    project, variables: the dbt project and what its environment has beyond ours; bars_to_check: see dictionary.py.
    FeaturesWrong: after all is written, so that the page shows what is wrong.
    """
    target = target or directory()
    target.mkdir(parents=True, exist_ok=True)
    tools = {**os.environ, "DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", **(variables or {})}
    # dbt and colibri are programs of their own, so that the check has the other core meanwhile.
    with ThreadPoolExecutor(1) as pool:
        docs = pool.submit(write_docs, target, project or settings.project_directory(), tools)
        entries, about = check(url, bars_to_check)
        docs.result()
    return publish(target, entries, about)


# ---------------------------------------------------------------- dbt docs, lineage


def write_docs(target: Path, project: Path, variables: Mapping[str, str]) -> None:
    """dbt docs as one page, then the lineage of every column, which reads what dbt wrote."""
    output = project / "target"
    # A compilation of its own: `dbt build` of a selection leaves a manifest without the SQL that lineage is read from.
    _run(project, variables, "dbt", "--quiet", "--no-use-colors", "docs", "generate", "--static")
    _publish(output / "static_index.html", target / "docs" / "index.html")
    manifest, catalog = (str(output / f"{name}.json") for name in ("manifest", "catalog"))
    lineage = output / "lineage"
    _run(
        project, variables,
        "colibri", "generate", "--light", "--manifest", manifest, "--catalog", catalog, "--output-dir", str(lineage),
    )  # fmt: skip
    _publish(lineage / "index.html", target / "lineage" / "index.html", FIRST_MODEL)


def _run(where: Path, variables: Mapping[str, str], program: str, *arguments: str) -> None:
    executable = Path(sys.executable).parent / program
    if not executable.exists():
        raise DocumentsFailed(
            f"{program} is not installed: `make docs` installs it, or pip install 'market-warehouse[docs]'"
        )
    done = subprocess.run(
        [str(executable), *arguments],
        cwd=where,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise DocumentsFailed(f"`{program} {arguments[0]}` ended with exit code {done.returncode}:\n{tail}")


def _publish(page: Path, place: Path, first: str = "") -> None:
    """Copy a page, with a way back to the site at its end. first: a script that runs before the page's own."""
    place.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text().replace("<head>", f"<head>{first}", 1)
    for unfilled, filled in UNFILLED.items():
        text = text.replace(unfilled, filled)
    head, end, tail = text.rpartition("</body>")
    write(place, head + WAY_BACK + tail if end else tail)


# ---------------------------------------------------------------- the dictionary


def write_dictionary(target: Path, *, url: str | None = None, bars_to_check: int = BARS_TO_CHECK) -> list[Entry]:
    """Check every definition on the warehouse's bars; write features.html and FEATURE_DEFINITIONS.md."""
    return publish(target, *check(url, bars_to_check))


def check(url: str | None, bars_to_check: int) -> tuple[list[Entry], dict[str, Any]]:
    """The entries of the dictionary, and what the page says of the data that they were checked on (about_data)."""
    with connect(url) as connection:
        return compile_dictionary(connection, bars_to_check), about_data(connection)


def publish(target: Path, entries: list[Entry], about: dict[str, Any]) -> list[Entry]:
    """Write what was found; FeaturesWrong after that."""
    copy_assets(target)
    page: dict[str, Any] = {
        "built_at": int(time.time()),
        "interval_seconds": DAY,
        **about,
        **links(target, write_guides(target)),
        "has_dictionary": True,
    }
    groups = {
        "Every asset class": [entry for entry in entries if entry.feature.asset_class is None],
        "Crypto": [entry for entry in entries if entry.feature.asset_class == "crypto"],
    }
    templates = environment()
    values = {"page": page, "active": "features", "entries": entries, "groups": groups}
    write(target / "features.html", templates.get_template("features.html.j2").render(values))
    templates.autoescape = False
    text = templates.get_template("features.md.j2").render(values)
    write(target / MARKDOWN, re.sub(r"\n{3,}", "\n\n", text))
    if wrong := [entry for entry in entries if entry.evidence.verdict == "wrong"]:
        differences = "; ".join(
            f"{entry.definition.name}: {entry.evidence.mismatches} of {entry.evidence.bars} bars, first "
            f"{entry.evidence.first_mismatch}"
            for entry in wrong
        )
        raise FeaturesWrong(f"stored features differ from their definitions: {differences}")
    return entries
