"""The session yfinance talks through: sends Yahoo's hosts to YAHOO_BASE_URL, keeps the last chart answer, and takes no
body that is too large.

curl's time-out (a number of seconds) is for the whole exchange, so a body that drips needs no watchdog here.
"""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

from curl_cffi import requests
from curl_cffi.curl import CURL_WRITEFUNC_ERROR

from extract.transport.bodies import KEPT, LARGEST_BODY


class BodyTooLarge(Exception):
    """A body beyond the limit; `kept` is how it begins."""

    def __init__(self, kept: bytes) -> None:
        super().__init__("the body is too large")
        self.kept = kept


class YahooSession(requests.Session):  # type: ignore[type-arg]
    """A browser-like session. With a base URL, every request goes there, whichever Yahoo host it names."""

    def __init__(self, base_url: str | None) -> None:
        super().__init__(impersonate="chrome", allow_redirects=True)
        self._base_url = base_url
        self._answers = threading.local()

    def request(  # type: ignore[override]
        self, method: Any, url: str, **arguments: Any
    ) -> Any:
        """As curl_cffi's. Raises BodyTooLarge, also for a small body that unpacks to a large one."""
        parts = urlsplit(url)
        if self._base_url:
            url = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        pieces: list[bytes] = []
        size = 0

        def take(piece: bytes) -> int:
            nonlocal size
            size += len(piece)
            if size > LARGEST_BODY:
                return int(CURL_WRITEFUNC_ERROR)
            pieces.append(piece)
            return len(piece)

        try:
            response = super().request(method, url, content_callback=take, **arguments)
        except requests.exceptions.RequestException:
            if size > LARGEST_BODY:
                raise BodyTooLarge(b"".join(pieces)[:KEPT]) from None
            raise
        response.content = b"".join(pieces)
        if "/v8/finance/chart/" in parts.path:
            self._answers.chart = response
        return response

    def last_chart(self) -> Any:
        """The newest chart answer of this thread: yfinance raises on 429 and drops the answer and its Retry-After."""
        return self._answers.chart
