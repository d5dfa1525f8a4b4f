"""The one way to ask a source: budget, circuit breaker, retries, time-outs; and the record of what came back.

Data flow: a `send` function of a provider -> `Source.ask` -> `Answer`. No exception of the network leaves here.

| what comes | what happens |
|---|---|
| 2xx, 400, 401, 403, 404, 422, 451 | an answer: no retry, nothing counted against the source |
| a body of more than 32 MB | an answer, of which only the beginning is stored, with its `problem` |
| 429, 5xx, time-out, broken connection | asked again after 30, 60, 120 s, or when Retry-After says; then a failure. |
| an answer that takes longer than 60 s in all | a time-out |
| 429 | besides, no other thread begins a request until then |
| 429, 5xx with a Retry-After above 120 s, 418 | the source is left alone until then, over all runs, but no longer than
  12 hours, or 3 days after 418; the task is deferred. `market unblock SOURCE` ends it |
| an exception that is none of the network's | an error on record, no retry, nothing counted against the source |
| no room in the budget, and the task may not wait for it | not sent; the caller turns to the next source |
| 3 failures in a row | the breaker opens for 300 s; the caller turns to the next source |
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import psycopg
import pybreaker
import tenacity

from extract.core import clock
from extract.core.redaction import redact
from extract.load.responses import Answer
from extract.transport import bodies, breaker, headers
from extract.transport.budget import Block, Spent
from extract.transport.retry_policy import RETRY_POLICY

USER_AGENT = "market-warehouse"

log = logging.getLogger(__name__)


class Response(Protocol):
    """What requests and curl_cffi responses have in common."""

    @property
    def status_code(self) -> int: ...

    @property
    def content(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Unavailable(Exception):
    """The source answered 429 or 5xx."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


class Unexpected(Exception):
    """Something else than the network failed while asking: our mistake, or what a library makes of a strange answer."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")


class Blocked(Exception):
    """Another thread has meanwhile been asked to leave the source alone."""


class Deferred(Unavailable):
    """The source wants to be left alone for longer than a worker should sleep."""

    def __init__(self, response: Response, seconds: float) -> None:
        super().__init__(response)
        self.seconds = seconds


def no_quota() -> int | None:
    """The quota of a source that neither reports one nor is counted by us."""
    return None


class Source:
    """A provider as seen by the network: its breaker, its block and its retries, shared by all threads of a run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.block = Block(name)
        self._record = breaker.PostgresStorage(name)
        self._breaker = breaker.make(
            name, self._record, not_failures=(Blocked, Deferred, Spent, Unexpected, psycopg.Error)
        )
        self._trial = threading.Lock()
        # After a 429 no other thread begins a request before this (monotonic seconds): that is what gets one banned.
        self._quiet_until = 0.0

    @property
    def breaker_state(self) -> str:
        return self._breaker.current_state.upper().replace("-", "_")

    @property
    def is_available(self) -> bool:
        """False while it is pointless to ask: blocked, or the breaker is open and its time not over."""
        return self.block.until is None and not self._breaker_keeps_closed()

    def _breaker_keeps_closed(self) -> bool:
        opened_at = self._record.opened_at
        if self._breaker.current_state != pybreaker.STATE_OPEN or opened_at is None:
            return False
        return (datetime.now(UTC) - opened_at).total_seconds() < RETRY_POLICY.breaker_seconds

    def ask(self, send: Callable[[], Response], quota: Callable[[], int | None] = no_quota) -> Answer:
        """Send, with retries, and return the outcome. `send` is called once per attempt, `quota` after the answer."""
        asked_at, state = clock.now(), self.breaker_state
        if self.block.until:
            return self._blocked(asked_at, state)
        if (pause := self._quiet_until - time.monotonic()) > 0:
            time.sleep(pause)
        is_trial = self._begin_trial() if state != "CLOSED" else False
        if is_trial is None:
            return self._refused(asked_at, state)
        began = time.perf_counter()

        def attempt() -> Response:
            nonlocal asked_at, began
            # A request that sleeps between two tries must not break a ban.
            if self.block.until:
                raise Blocked
            asked_at, began = clock.now(), time.perf_counter()
            return self.checked(_sent(send))

        response: Response | None = None
        error: str | None = None
        try:
            with self._breaker.calling():
                response = _retrying(self.name)(attempt)
        except pybreaker.CircuitBreakerError:
            return self._refused(asked_at, state)
        except Blocked:
            return self._blocked(asked_at, state)
        except Spent as problem:
            error = f"not asked: {problem}"
            return Answer(asked_at, asked_at, state, quota_remaining=quota(), error=error, is_deferred=True)
        except Unexpected as problem:
            error = f"the request failed unexpectedly ({problem}); the next run asks again"
        except Deferred as problem:
            response = problem.response
            until = self.block.set(problem.seconds)
            error = f"HTTP {response.status_code}: asked to wait until {until:%Y-%m-%d %H:%M:%S} UTC; a later run will"
            error += f" (`market unblock {self.name}` ends it)"
        except Unavailable as problem:
            response = problem.response
            error = f"HTTP {response.status_code} after {len(RETRY_POLICY.backoff) + 1} attempts"
        except OSError as problem:  # requests' and curl_cffi's exceptions are OSErrors
            error = f"no answer after {len(RETRY_POLICY.backoff) + 1} attempts: {problem}"
        finally:
            if is_trial:
                self._trial.release()
        fetched_at = clock.now()
        elapsed = int((time.perf_counter() - began) * 1000)
        if response is None:
            return Answer(asked_at, fetched_at, state, response_ms=elapsed, error=redact(error or "no answer"))
        return Answer(
            asked_at,
            fetched_at,
            state,
            body=response.content,
            http_status=response.status_code,
            response_ms=elapsed,
            quota_remaining=quota(),
            error=_error_of(response, error),
            problem=getattr(response, "problem", None),
        )

    def _begin_trial(self) -> bool | None:
        """Of a breaker that is not closed: whether this request tries (and holds the trial's lock); None: none may yet.

        One tries; the others wait for how it ends instead of failing while it succeeds.
        """
        if self._breaker_keeps_closed():
            return None
        self._trial.acquire()
        if self._breaker_keeps_closed():
            self._trial.release()
            return None
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            self._trial.release()
            return False
        return True

    def _blocked(self, asked_at: datetime, state: str) -> Answer:
        # The ban may have run out this very moment.
        until = self.block.until or datetime.now(UTC)
        error = f"not asked: {self.name} wants to be left alone until {until:%Y-%m-%d %H:%M:%S} UTC"
        error += f" (`market unblock {self.name}` ends it)"
        return Answer(asked_at, asked_at, state, error=error)

    def _refused(self, asked_at: datetime, state: str) -> Answer:
        error = f"not asked: the circuit breaker of {self.name} is open after repeated failures"
        return Answer(asked_at, asked_at, state, error=error)

    def checked(self, response: Response) -> Response:
        """The response, unless it means "not now". Raises Deferred, Unavailable."""
        if response.status_code != 429 and response.status_code != 418 and response.status_code < 500:
            return response
        seconds = retry_after(response)
        if response.status_code == 418 or seconds > RETRY_POLICY.longest_wait:
            longest = RETRY_POLICY.longest_ban if response.status_code == 418 else RETRY_POLICY.longest_block
            raise Deferred(response, min(seconds or RETRY_POLICY.breaker_seconds, longest))
        if response.status_code == 429 and RETRY_POLICY.backoff:
            self._quiet_until = time.monotonic() + (seconds or RETRY_POLICY.backoff[0])
        raise Unavailable(response)


def _error_of(response: Response, error: str | None) -> str | None:
    """What is wrong with a response, with the beginning of its body; None where nothing is."""
    if error is None and response.status_code >= 300:
        error = f"HTTP {response.status_code}"
    if error is None:
        return None
    # Redacted before it is cut: the beginning of a key would be no key to the redaction.
    body = redact(response.content[:10_000].decode(errors="replace"))
    return redact(f"{error}: {body[:300]}")


def _sent(send: Callable[[], Response]) -> Response:
    """What comes of it. Only the network's own failures are worth another try, and count against the source."""
    try:
        return send()
    except (OSError, Spent, psycopg.Error):
        raise
    except Exception as problem:
        log.debug("a request failed unexpectedly", exc_info=True)
        raise Unexpected(problem) from problem


def retry_after(response: Response) -> float:
    """The seconds the Retry-After header names; 0 if there is none that can be understood."""
    return headers.retry_after(response.headers)


def _retrying(source: str) -> tenacity.Retrying:
    def say(state: tenacity.RetryCallState) -> None:
        """Else nothing is heard for three and a half minutes while a source is down."""
        problem = state.outcome.exception() if state.outcome else None
        what = f"HTTP {problem.response.status_code}" if isinstance(problem, Unavailable) else "no answer"
        log.info("%s: %s; asked again in %.0f s", source, what, state.upcoming_sleep, extra={"source": source})

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda problem: isinstance(problem, Unavailable | OSError) and not isinstance(problem, Deferred)
        ),
        wait=_wait,
        stop=tenacity.stop_after_attempt(len(RETRY_POLICY.backoff) + 1),
        before_sleep=say,
        reraise=True,
    )


def _wait(state: tenacity.RetryCallState) -> float:
    problem = state.outcome.exception() if state.outcome else None
    asked_for = retry_after(problem.response) if isinstance(problem, Unavailable) else 0
    # The wait after the last attempt is computed too, and never slept.
    return asked_for or (*RETRY_POLICY.backoff, 0)[state.attempt_number - 1]


def session(connections: int) -> bodies.Session:
    """A keep-alive session for this many threads."""
    return bodies.Session(connections, USER_AGENT)


def get(
    made: bodies.Session, url: str, params: Mapping[str, str | int] | None = None, **fields: str
) -> bodies.Received:
    """GET with the pipeline's time-outs; `fields` are header fields."""
    return bodies.get(made, url, params, fields, (RETRY_POLICY.connect, RETRY_POLICY.read), RETRY_POLICY.whole)
