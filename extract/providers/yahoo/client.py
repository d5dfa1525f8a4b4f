"""yfinance's client on our session: the one place that touches what yfinance keeps to itself (tests/extract/test_libraries.py).

Imported only when Yahoo is really asked: pandas, under yfinance, costs a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yfinance
from yfinance.data import YfData

from extract.providers.yahoo.session import YahooSession


class Client:
    """Asks with the cookie and the crumb that yfinance gets. `base_url`: where all requests go instead of to Yahoo's hosts."""

    def __init__(self, base_url: str | None, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        yfinance.set_tz_cache_location(str(cache))
        self._session = YahooSession(base_url)
        self._data = YfData(session=self._session)
        # A singleton: an earlier run of this process may have left its crumb.
        self._data._crumb = None

    def get(self, url: str, params: dict[str, Any], timeout: float) -> Any:
        """The answer, as curl_cffi's. Raises YFRateLimitError on HTTP 429, and BodyTooLarge."""
        # After a refused crumb yfinance sends the refusal's text as crumb from then on.
        if self._data._crumb and " " in self._data._crumb:
            self._data._crumb = None
        return self._data.get(url, params=params, timeout=timeout)

    def last_chart(self) -> Any:
        """The newest chart answer of this thread: with YFRateLimitError yfinance drops the answer and its Retry-After."""
        return self._session.last_chart()
