"""`market serve`: the API and the site on one port."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress

import uvicorn

from scripts.api.app import create_app


class CannotListen(Exception):
    """The address is taken, or none of this machine; the message says what to do."""


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. The log is the program's own, so secrets are taken out of it. Raises CannotListen."""
    # Ours, not uvicorn's own: where the port is taken, that one says the server has started, and ends with exit code 3.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as problem:
        # In brackets Python repeats the address.
        why = str(problem.strerror).partition(" (")[0]
        raise CannotListen(
            f"http://{host}:{port} cannot be served: {why} (choose with --host and --port, or end what listens there)"
        ) from None
    logging.getLogger("market").info("API and site on http://%s:%d (its routes: /docs)", host, port)
    config = uvicorn.Config(create_app(), log_config=None, access_log=False, server_header=False)
    # Ctrl-C is how it ends, as in uvicorn.run.
    with listening, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
