"""Reading an answer's body: within one deadline for all of it, and never more of it than fits.

A read time-out ends a silent answer but not one that drips: a byte every 20 s would keep a worker for years. And 30 kB
of gzip may unpack to 30 MB, so both sizes are limited while reading.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

# The largest documented answer (50,000 bars of Polygon) has 6 MB.
LARGEST_BODY = 32 * 2**20
# What is kept of a body that is too large.
KEPT = 100_000
PIECE = 2**20


@dataclass(frozen=True)
class Received:
    """An answer with its body, unpacked. `problem` says why the body is not the whole of what was sent."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    problem: str | None = None


def too_large(what: str = "the body") -> str:
    """The message for the user."""
    return f"{what} is larger than {LARGEST_BODY // 2**20} MB, which no documented answer is"


class _Watched:
    """One exchange with its deadline (monotonic seconds) and, once there is one, its socket."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.is_over = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def attach(self, connected: socket.socket | None) -> None:
        with self._lock:
            self._socket = connected
        if self.is_over:
            self.end()

    def end(self) -> None:
        """Make the thread that reads see the end of the connection."""
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with suppress(OSError):
                    # Of the plain socket, below TLS: the other thread is in the middle of using that.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watchdog:
    """One thread that ends exchanges whose deadline has passed: a thread for each cost 0.1 ms a request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[_Watched] = set()
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, seconds: float) -> Iterator[_Watched]:
        watched = _Watched(time.monotonic() + seconds)
        with self._changed:
            self._watched.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="body deadlines", daemon=True)
                self._thread.start()
            elif watched.ends < self._wakes:
                self._changed.notify()
        try:
            yield watched
        finally:
            with self._changed:
                self._watched.discard(watched)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watched in [one for one in self._watched if one.ends <= now]:
                    watched.end()
                    self._watched.discard(watched)
                self._wakes = min((one.ends for one in self._watched), default=float("inf"))
                self._changed.wait(None if self._wakes == float("inf") else self._wakes - now)


_WATCHDOG = _Watchdog()
_current = threading.local()


def _attach(connection: HTTPConnection) -> None:
    watched: _Watched | None = getattr(_current, "watched", None)
    if watched is not None:
        watched.attach(connection.sock)


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _attach(self)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _attach(self)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Its connections can be ended by the watchdog, those through a proxy too."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


class Session(requests.Session):
    """A keep-alive session for this many threads that follows no redirect: no API we ask sends any."""

    def __init__(self, connections: int, user_agent: str) -> None:
        super().__init__()
        self.headers["User-Agent"] = user_agent
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_maxsize=connections))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # Even where none is followed requests would read the whole body of a redirect, whatever its size.
        return None


def get(
    session: Session,
    url: str,
    params: Mapping[str, str | int] | None,
    headers: Mapping[str, str],
    timeout: tuple[float, float],
    whole: float,
) -> Received:
    """GET; `timeout` is for the connection and for each read, `whole` for all of it, in seconds.

    Raises OSError where no whole answer came, among them TimeoutError.
    """
    with _WATCHDOG.watch(whole) as watched:
        _current.watched = watched
        try:
            with session.get(
                url, params=params, headers=headers, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                content, problem = _read(response.raw)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            if watched.is_over:
                raise TimeoutError(f"the whole answer took longer than {whole:g} s") from None
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{type(error).__name__}: {error}") from None
        finally:
            _current.watched = None
        # Without a Content-Length the end of the connection looks like the end of the body.
        if watched.is_over:
            raise TimeoutError(f"the whole answer took longer than {whole:g} s")
        return Received(response.status_code, content, response.headers, problem)


def _read(raw: Any) -> tuple[bytes, str | None]:
    """The body, unpacked piece by piece."""
    pieces, size = [], 0
    while piece := raw.read(PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_BODY:
            raw.close()
            return pieces[0][:KEPT], too_large()
    return b"".join(pieces), None
