"""Templates, their filters, and how a page is written."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

HERE = Path(__file__).parent
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
# A wide table scrolls by itself, by the keyboard, too; the page does not.
_markdown.add_render_rule(
    "table_open", lambda *_: '<div class="table" tabindex="0" role="group" aria-label="Table"><table>'
)
_markdown.add_render_rule("table_close", lambda *_: "</table></div>")


def environment() -> Environment:
    """The templates; text from the warehouse is escaped, a misspelt name is an error."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        count=count, share=share, decimal=decimal, instant=instant, sparkline=sparkline, strip=strip, inline=inline,
        short=short, exact=exact, bars_chart=bars_chart, seconds=seconds, price=price, change=change,
    )  # fmt: skip
    return templates


def write(path: Path, text: str) -> None:
    """Replace a file as a whole, so that nobody is served half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def count(number: Any) -> str:
    return "–" if number is None else f"{number:,.0f}"


def share(part: Any, whole: Any = 1, digits: int = 1) -> str:
    """Per cent; 99.99 % is never rounded up to 100 %."""
    if part is None or not whole:
        return "–"
    per_cent = 100 * float(part) / float(whole)
    if per_cent < 100 and f"{per_cent:.{digits}f}" == f"{100:.{digits}f}":
        return f">{100 - 10.0**-digits:.{digits}f} %"
    return f"{per_cent:.{digits}f} %"


def decimal(number: Any, digits: int = 2) -> str:
    return "–" if number is None else f"{float(number):,.{digits}f}"


def price(number: Any) -> str:
    """A price as it is quoted: two decimals from 1 on, below it five significant digits."""
    if number is None:
        return "–"
    return f"{float(number):,.2f}" if abs(number) >= 1 else f"{float(number):.5g}"


def change(fraction: Any) -> str:
    return "–" if fraction is None else f"{100 * float(fraction):+.2f} %".replace("-", "−")


def short(number: Any) -> str:
    """Five significant digits, for figures of any size."""
    if number is None:
        return "–"
    number = float(number)
    return f"{number:,.0f}" if abs(number) >= 100_000 else f"{number:.5g}"


def exact(number: Any) -> str:
    """Eight significant digits: of a corrected price, what changed may be the last of them."""
    if number is None:
        return "–"
    number = float(number)
    return f"{number:,.0f}" if abs(number) >= 100_000_000 else f"{number:,.8g}"


def instant(epoch: Any, with_time: bool = True) -> str:
    if epoch is None:
        return "–"
    return f"{datetime.fromtimestamp(int(epoch), UTC):{'%Y-%m-%d %H:%M' if with_time else '%Y-%m-%d'}}"


def inline(text: str) -> Markup:
    """One line of Markdown."""
    return Markup(_markdown.renderInline(text))


def markdown(text: str, guides: Container[str] = ()) -> Markup:
    """A whole text; its headings can be linked to by what they say.

    guides: the names of the texts that have a page next to this one, in whatever folder they are written: links to them lead
    to their pages. Links to other files of the checkout become plain text, since the pages go where the checkout is not.
    """
    tokens = _markdown.parse(text)
    for token in tokens:
        children, is_dead = [], False
        for child in token.children or ():
            if child.type == "link_open":
                path, mark, anchor = str(child.attrGet("href")).partition("#")
                name = path.rpartition("/")[2].removesuffix(".md")
                is_outside = not path or "://" in path or path.startswith("mailto:")
                is_dead = not is_outside and not (path.endswith(".md") and name in guides)
                if not is_outside:
                    child.attrSet("href", f"{name}.html{mark}{anchor}")
            if not (is_dead and child.type in ("link_open", "link_close")):
                children.append(child)
        if token.children is not None:
            token.children = children
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", re.sub(r"[^a-z0-9_]+", "-", content.content.lower()).strip("-"))
        if opening.type == "th_open" and not content.content:
            # A screen reader would announce the corner of a table as the head of its first column.
            opening.tag = "td"
        if opening.type == "inline" and not opening.content and content.type == "th_close":
            content.tag = "td"
    # Code that is wider than its box scrolls by the keyboard, too.
    return Markup(_markdown.renderer.render(tokens, _markdown.options, {}).replace("<pre>", '<pre tabindex="0">'))


def seconds(number: Any) -> str:
    if number is None:
        return "–"
    return f"{number:.1f} s" if number < 90 else f"{number / 60:.1f} min"


def sparkline(values: Sequence[Any], low: float | None = None, high: float | None = None) -> Markup:
    """A line over the values from left to right, 100 x 24, drawn between the smallest and the largest."""
    numbers = [float(value) for value in values if value is not None]
    if len(numbers) < 2:
        return Markup("")
    bottom = min(numbers) if low is None else low
    top = max(numbers) if high is None else high
    span = (top - bottom) or 1
    points = " ".join(
        f"{100 * place / (len(numbers) - 1):.1f},{21 - 18 * (number - bottom) / span if top > bottom else 12:.1f}"
        for place, number in enumerate(numbers)
    )
    course = "rises" if numbers[-1] >= numbers[0] else "falls"
    return Markup(
        f'<svg class="spark {course}" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{points}"/></svg>'
    )


def bars_chart(counts: Sequence[int]) -> Markup:
    """A histogram, 8 wide per bin."""
    highest = max(counts, default=0) or 1
    path = "".join(
        f"M{8 * place},40v-{max(40 * number / highest, 0.6):.1f}h7V40z" for place, number in enumerate(counts) if number
    )
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {8 * len(counts)} 40" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


# A session is a cell; the worse its state, the taller, so that colour is not needed to find it.
HEIGHTS = {"c": 6, "a": 2, "f": 10, "p": 13, "m": 16}
STATES = {"c": "complete", "a": "awaited", "f": "flawed", "p": "poor", "m": "missing"}


def strip(states: str) -> Markup:
    """The sessions of a series as cells, oldest left; one path per state keeps hundreds of rows small."""
    paths = []
    start = 30 - len(states)
    for letter, height in HEIGHTS.items():
        path = "".join(
            f"M{4 * (start + place)},{16 - height}h3v{height}h-3z" for place, s in enumerate(states) if s == letter
        )
        if path:
            paths.append(f'<path class="{STATES[letter]}" d="{path}"/>')
    summary = ", ".join(
        f"{states.count(letter)} {STATES[letter]}" for letter in ("c", "f", "p", "m", "a") if letter in states
    )
    return Markup(
        f'<svg class="strip" viewBox="0 0 120 16" role="img" aria-label="{summary or "no session"}">'
        f"<title>{summary or 'no session'}</title>{''.join(paths)}</svg>"
    )
