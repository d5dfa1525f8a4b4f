"""The server: `python -m scripts.postgres` for the embedded one, and what is done to it or to your own: roles, backup,
retention. Its control is extract's, which starts it on demand."""

from extract.core.embedded_server import SUPERUSER as SUPERUSER
from extract.core.embedded_server import PostgresError as PostgresError
from extract.core.embedded_server import Server as Server
from extract.core.embedded_server import binaries as binaries
from extract.core.embedded_server import temporary_postgres as temporary_postgres
