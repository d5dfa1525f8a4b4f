"""The session yfinance talks through: sends Yahoo's hosts to YAHOO_BASE_URL and keeps the last chart answer."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

from curl_cffi import requests


class YahooSession(requests.Session):  # type: ignore[type-arg]
    """A browser-like session. With a base URL, every request goes there, whichever Yahoo host it names."""

    def __init__(self, base_url: str | None) -> None:
        super().__init__(impersonate="chrome", allow_redirects=True)
        self._base_url = base_url
        self._answers = threading.local()

    def request(  # type: ignore[override]
        self, method: Any, url: str, **arguments: Any
    ) -> Any:
        parts = urlsplit(url)
        if self._base_url:
            url = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        response = super().request(method, url, **arguments)
        if "/v8/finance/chart/" in parts.path:
            self._answers.chart = response
        return response

    def last_chart(self) -> Any:
        """The newest chart answer of this thread: yfinance raises on 429 and drops the answer and its Retry-After."""
        return self._answers.chart
