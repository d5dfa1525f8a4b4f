"""The documents hang together: links lead somewhere, every page is found from the index, nothing cites what is not here.

Data flow: the Markdown files that git knows -> links and anchors -> files and headings.
"""

from __future__ import annotations

import csv
import re
import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

INDEX = ROOT / "docs" / "README.md"
# dbt's own pages: their links are routes of dbt docs, or pages of the site beside it.
OF_DBT_DOCS = {ROOT / "dbt_project" / "models" / "overview.md"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
# A document's name in capitals, or one under docs/, wherever a text, a comment or a message cites it.
CITED = re.compile(r"\b(?:docs/[\w/-]+\.(?:md|py|svg)|[A-Z][A-Z_]{3,}\.md)\b")
TEXT = {
    ".md",
    ".py",
    ".sql",
    ".yml",
    ".yaml",
    ".toml",
    ".csv",
    ".j2",
    ".html",
    ".js",
    ".css",
    ".txt",
    ".service",
    ".timer",
}
# A file of code, by its place in the project or next to the file that cites it.
CODE = re.compile(
    r"(?<![\w./*{-])(?:extract|scripts|market_warehouse|dbt_project|tests)(?:/[a-z0-9_]+)+\.(?:py|sql|yml|csv|j2)\b"
)
# The user's own, made from its example.
REGISTRY = "dbt_project/seeds/assets.csv"
# Says what was, too.
CHANGES = ROOT / "CHANGELOG.md"
# Written by `make docs`, so not in git.
GENERATED = {"FEATURE_DEFINITIONS.md"}


@cache
def tracked() -> tuple[Path, ...]:
    """What git knows or would add, without what is deleted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md" and path not in OF_DBT_DOCS]


def outside_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def links(path: Path) -> list[str]:
    """The relative ones."""
    found = (one or other for one, other in LINK.findall(outside_code(path.read_text())))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@cache
def anchors(path: Path) -> frozenset[str]:
    """What a link can name in a page, by GitHub's rule: lower case, blanks become hyphens, other signs go."""
    headings = re.findall(r"^#+ +(.+?) *$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), flags=re.M)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def dead_links(path: Path) -> list[str]:
    dead = []
    for link in links(path):
        target, _, anchor = link.partition("#")
        leads_to = (path.parent / target).resolve() if target else path
        if not leads_to.exists() or (anchor and leads_to.suffix == ".md" and anchor not in anchors(leads_to)):
            dead.append(f"{path.name}: {link}")
    return dead


def test_every_relative_link_leads_to_a_file_and_its_heading() -> None:
    assert len(documents()) > 20
    assert [dead for path in documents() for dead in dead_links(path)] == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, of `code`\n")
    text = tmp_path / "page.md"
    alive = "[a](there.md#a-heading-of-code) `[b](c.md)` [d](https://e.f) [g](#h)\n```\n[i](j.md)\n```\n# h\n"
    text.write_text(f"{alive}[k](not_there.md) [l](there.md#nothing) [m](#n)\n")
    assert dead_links(text) == ["page.md: not_there.md", "page.md: there.md#nothing", "page.md: #n"]


def test_every_page_is_found_from_the_index() -> None:
    """By a link of the index itself: a page that only another page knows is a page that nobody finds."""
    listed = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX)}
    pages = {path for path in documents() if INDEX.parent in path.parents and path != INDEX}
    assert sorted(str(path.relative_to(ROOT)) for path in pages - listed) == []
    assert INDEX.resolve() in {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}


def test_names_of_pages_are_unique() -> None:
    """The site writes the pages of all folders into one."""
    names = [path.stem for path in documents() if INDEX.parent in path.parents]
    assert sorted(names) == sorted(set(names))


def test_nothing_cites_a_document_that_is_not_here() -> None:
    files = tracked()
    names = {path.name for path in files} | GENERATED
    missing = []
    for path in files:
        if path.suffix not in TEXT and path.suffix:
            continue
        for cited in CITED.findall(path.read_text()):
            is_there = (ROOT / cited).exists() if "/" in cited else cited in names
            if not is_there:
                missing.append(f"{path.relative_to(ROOT)}: {cited}")
    assert missing == []


def strayed(path: Path) -> list[str]:
    """The files of code that a text cites and that are not where it says."""
    cited = CODE.findall(path.read_text()) if path.suffix in TEXT or not path.suffix else []
    return [
        name
        for name in cited
        if name != REGISTRY and not (ROOT / name).is_file() and not (path.parent / name).is_file()
    ]


def test_nothing_cites_code_where_it_is_not() -> None:
    """Tests aside, which name files that they make in a copy."""
    texts = [path for path in tracked() if path != CHANGES and ROOT / "tests" not in path.parents]
    assert {path.relative_to(ROOT).as_posix(): missing for path in texts if (missing := strayed(path))} == {}


def test_code_that_has_moved_is_found(tmp_path: Path) -> None:
    text = tmp_path / "page.md"
    text.write_text("`extract/core/clock.py`, scripts/" + "alerts.py and dbt_project/macros/gone/" + "x.sql")
    assert strayed(text) == ["scripts/" + "alerts.py", "dbt_project/macros/gone/" + "x.sql"]


def test_alert_rules_lead_to_their_section_of_the_runbook() -> None:
    with (ROOT / "dbt_project" / "seeds" / "alert_rules.csv").open(newline="") as file:
        rules = {row["rule"]: row["runbook"] for row in csv.DictReader(file)}
    assert rules
    for rule, runbook in rules.items():
        page, _, anchor = runbook.partition("#")
        assert anchor == rule
        assert anchor in anchors(ROOT / page), runbook


def names(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]\w+", text))


def referenced(text: str) -> frozenset[str]:
    """The relations that `ref('name')` and `ref('name', v=2)` give."""
    return frozenset(
        name + (version and f"_v{version}") for name, version in re.findall(r"ref\('(\w+)'(?:, v=(\d))?\)", text)
    )


def hooks() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """model -> its parents in the watermark DAG, and the models it prepares changed rows for, as the SQL says."""
    found = {}
    for path in tracked():
        if path.suffix != ".sql" or ROOT / "dbt_project" / "models" not in path.parents:
            continue
        for arguments in re.findall(r"advance_watermark\((.*?)\)\s*}}", path.read_text(), flags=re.S):
            parents, _, prepared = re.sub(r",\s*stamp=.*", "", arguments, flags=re.S).partition("prepares=")
            found[path.stem] = (
                referenced(parents),
                frozenset(re.findall(r"'(\w+)'", prepared)),
            )
    return found


def test_the_page_on_architecture_shows_every_watermark() -> None:
    page = (ROOT / "docs" / "develop" / "architecture.md").read_text()
    table = page.partition("| model | parents | prepares |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]
    shown = {row[0]: (names(row[1]), names(row[2])) for row in rows if "(snapshot)" not in row[0]}
    assert shown == hooks()
    assert len(rows) == len(shown) + 1
