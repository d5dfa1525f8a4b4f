"""What a symbol is called at each source, for `market add`: asked of the sources, never guessed.

Data flow: symbols -> `lookup.py` of each provider's folder -> `Found` -> registry rows.

One try each: somebody waits. A block or an open breaker is respected, a new ban is written down as in a run, and
Polygon's requests count against its budget. A source that cannot be asked is a reason in `Found.unasked`, no error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec

from extract.core import database, sources
from extract.core.settings import ConfigurationError
from extract.providers.lookups import Answers, Found, Unasked

log = logging.getLogger(__name__)


def lookups() -> dict[str, Callable[[Sequence[str]], Answers]]:
    """How the names of each column of the registry are asked for, of the sources that can be."""
    modules = [f"extract.providers.{name}.lookup" for name in sources.with_bars()]
    return {
        column: ask for module in modules if find_spec(module) for column, ask in import_module(module).ASKS.items()
    }


def find(symbols: Sequence[str]) -> Found:
    """Ask every source for the symbols, all sources at once. Raises ConfigurationError for bad settings."""
    # Blocks, breakers and budgets are in the database; one pool for all threads.
    database.migrate()
    database.pool()
    found = Found({symbol: [] for symbol in symbols}, {symbol: {} for symbol in symbols})
    with ThreadPoolExecutor() as pool:
        asked = [(column, pool.submit(ask, symbols)) for column, ask in lookups().items()]
    for name, future in asked:
        try:
            answers = future.result()
        except Unasked as problem:
            found.unasked[name] = str(problem)
            continue
        except (ConfigurationError, database.Unreachable):
            raise
        except Exception as problem:
            # An answer of no documented shape is that source's trouble: the others' names are written.
            log.debug("%s: its answer is not understood", name, exc_info=True)
            found.unasked[name] = (
                f"{name} answers what is not understood ({type(problem).__name__}: `market doctor --probe` compares its shape)"
            )
            continue
        for symbol in symbols:
            found.listings[symbol] += answers.listings.get(symbol, [])
            if near := answers.nearest.get(symbol):
                found.nearest[symbol][name] = near
    return found
