"""`python -m scripts.postgres up|down|psql|status`: the embedded server from a shell."""

from __future__ import annotations

import os
import sys

from extract.core import embedded_server
from scripts import environment


def main(arguments: list[str]) -> int:
    """`python -m scripts.postgres up|down|psql|status`."""
    environment.read_settings_file()
    action = arguments[0] if arguments else "status"
    if os.environ.get("PGHOST"):
        if action == "psql":
            os.execvp(str(embedded_server.binaries() / "psql"), ["psql", *arguments[1:]])
        print(f"PGHOST={os.environ['PGHOST']} is set: the warehouse is that server; nothing to do")
        return 0
    server = embedded_server.Server(embedded_server.HOME)
    database = embedded_server.chosen_database()
    if action == "up":
        embedded_server.ensure_running(database=database)
        print(f"Postgres runs on 127.0.0.1:{server.port}, database {database} (try: make psql)")
    elif action == "down":
        server.stop()
        print("Postgres is stopped; its data stay in .warehouse/postgres")
    elif action == "psql":
        embedded_server.ensure_running(database=database)
        os.execvpe(
            str(embedded_server.binaries() / "psql"),
            ["psql", *arguments[1:]],
            {**os.environ, **server.environment(database)},
        )
    elif action == "status":
        print(f"running on 127.0.0.1:{server.port}" if server.is_running() else "not running (start it: make up)")
    else:
        print(f"unknown action {action!r}: use up, down, psql or status", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except embedded_server.PostgresError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
