"""`market serve`: the API and the site on one port."""

from __future__ import annotations

import logging

import uvicorn

from scripts.api.app import create_app


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. The log is the program's own, so secrets are taken out of it."""
    logging.getLogger("market").info("API and site on http://%s:%d (its routes: /docs)", host, port)
    uvicorn.run(create_app(), host=host, port=port, log_config=None, access_log=False, server_header=False)
