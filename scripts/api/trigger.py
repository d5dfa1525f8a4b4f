"""Starting a run from the API: outside the server, so that neither can harm the other, and one at a time."""

from __future__ import annotations

import asyncio
import hmac
import subprocess
import sys
import uuid

from fastapi import HTTPException

from extract.core import locks, settings
from extract.core.locks import Lock
from scripts.api.warehouse import Warehouse

RETRY_AFTER = {"Retry-After": "60"}


def authorise(header: str | None) -> None:
    """HTTPException 403 where no token is set, 401 where the header does not carry it."""
    token = settings.load().api_token
    if token is None:
        raise HTTPException(403, "triggering is switched off: set API_TOKEN for the server to allow it")
    scheme, _, given = (header or "").partition(" ")
    # In constant time: an answer that comes the sooner the earlier the first wrong character is gives the token away.
    is_right = hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not is_right:
        message = "send the token: Authorization: Bearer <API_TOKEN>"
        raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})


class Trigger:
    """Starts `market run` for this server."""

    def __init__(self, warehouse: Warehouse, command: tuple[str, ...] | None = None) -> None:
        self._warehouse = warehouse
        self._command = command or (sys.executable, "-m", "scripts.cli", "run", "--started-by", "api")
        self._one_at_a_time = asyncio.Lock()
        self._running: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """Start a run and return its id. HTTPException 409 while a run is under way, whoever started it."""
        async with self._one_at_a_time:
            # The run takes the lock itself, seconds after its start; until then only its process shows it.
            if self._running is not None and self._running.poll() is None:
                raise HTTPException(409, "a run that was triggered here is under way", RETRY_AFTER)
            if holder := await self._warehouse.row(locks.HOLDER, locks.asking_for(Lock.RUN)):
                raise HTTPException(409, f"a run is under way: {holder[0]}", RETRY_AFTER)
            run_id = uuid.uuid4().hex
            # A session of its own: it goes on when the server stops, and a Ctrl-C there does not reach it.
            self._running = subprocess.Popen(
                [*self._command, "--run-id", run_id],
                cwd=settings.project_directory(),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            return run_id
