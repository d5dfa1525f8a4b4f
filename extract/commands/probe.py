"""`market doctor --probe`: one real request per endpoint in use, its answer compared with what is documented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from extract.commands.running import urls
from extract.core import provenance, settings, sources
from extract.providers.probing import Probed
from extract.providers.shapes import Shape


def probe() -> Iterator[Probed]:
    """Ask every endpoint in use once and compare. Raises ConfigurationError for a bad registry or bad settings."""
    provenance.refuse_mixing(urls())
    for name in settings.load().sources:
        if module := _module(name, "probe"):
            with closing(module.PROBE()) as one:
                yield from one.run()


def documented() -> dict[tuple[str, str], Shape]:
    """What the answers of each source and endpoint look like by its documents."""
    return {
        (name, endpoint): shape
        for name in sources.names()
        if (module := _module(name, "shapes"))
        for endpoint, shape in module.SHAPES.items()
    }


def _module(source: str, name: str) -> Any:
    """A module of a source's folder; None where it has no such."""
    path = f"extract.providers.{source}.{name}"
    return import_module(path) if find_spec(path) else None
