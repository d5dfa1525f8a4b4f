"""What every command ends with: one line, and an exit code that says which kind of end it was."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from extract.load.outcomes import Report

EXIT_FAILED, EXIT_UNEXPECTED, EXIT_PARTLY, EXIT_LOCKED, EXIT_CONFIGURATION, EXIT_INTERRUPTED = 1, 2, 3, 75, 78, 130
# What a write to a full disk says, which names no file.
FULL = (errno.ENOSPC, errno.EDQUOT)


def finish(report: Report) -> int:
    """The last line of a loading command, and its exit code."""
    log = logging.getLogger("market")
    if report.failed:
        log.error("%d done, %d failed: %s", report.done, len(report.failed), ", ".join(report.failed))
    else:
        log.info("all %d done", report.done)
    return report.exit_code


@contextmanager
def reporting(needs_project: bool = True) -> Iterator[None]:
    """Set up the log, and turn the errors that have an exit code of their own into one line and that code."""
    from extract.core import logs
    from extract.core.database import LockHeld, Unreachable, meaning_of
    from extract.core.locks import LockLost
    from extract.core.settings import ConfigurationError
    from scripts import project
    from scripts.postgres import PostgresError
    from scripts.postgres.backup import BackupFailed
    from scripts.reading import Unreadable

    logs.configure()
    try:
        if needs_project:
            project.require(Path.cwd())
        yield
    except LockHeld as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_LOCKED) from None
    except ConfigurationError as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_CONFIGURATION) from None
    except Unreadable as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_CONFIGURATION if error.is_setting else EXIT_FAILED) from None
    except (Unreachable, LockLost, PostgresError, BackupFailed) as error:
        logs.tell(str(error))
        raise typer.Exit(EXIT_FAILED) from None
    except (typer.Exit, BrokenPipeError):
        # Who reads us has seen enough (`market status | head`): Typer ends in silence.
        raise
    except (KeyboardInterrupt, typer.Abort):
        # Ctrl-C, at a question, too.
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if (meant := meaning_of(error)) is not None:
            logs.tell(str(meant))
            is_setting = isinstance(meant, ConfigurationError)
            raise typer.Exit(EXIT_CONFIGURATION if is_setting else EXIT_FAILED) from None
        if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
            # A folder that is not ours, a file in its place, a full disk: nothing that a traceback would explain.
            where = f"{error.filename}: " if error.filename is not None else ""
            logs.tell(f"{where}{error.strerror} (name another place, make room, or mend its rights)")
            raise typer.Exit(EXIT_FAILED) from None
        logging.getLogger("market").exception("unexpected error")
        raise typer.Exit(EXIT_UNEXPECTED) from None
