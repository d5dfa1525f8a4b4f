"""The file of the registry: made at first use, changed row by row and all at once.

`dbt_project/seeds/assets.csv` is the user's own and not tracked, so no upgrade touches it or conflicts with it. Where it
is missing, as in a fresh clone, the tracked `dbt_project/assets.example.csv` is copied there.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from extract.core.project import ASSETS, project_directory

EXAMPLE = Path("dbt_project") / "assets.example.csv"


def ensure(project: Path | None = None) -> Path:
    """The registry's path; the file is there afterwards if this project has an example to copy. Two programs that come
    at once make one file, whole."""
    project = project or project_directory()
    path, example = project / ASSETS, project / EXAMPLE
    if path.exists() or not example.exists():
        return path
    with _replacement(path) as made:
        shutil.copyfile(example, made)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    """The rows as they are written."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def replace(path: Path, columns: Sequence[str], changed: Sequence[Mapping[str, str]]) -> None:
    """Write these rows in place of the file: a reader sees the old ones or all of the new ones."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(changed)
    with _replacement(path) as made:
        made.write_text(text.getvalue(), encoding="utf-8")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else changes the file while the block lasts."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """A file next to it that takes its place at the end of the block. A link stays one: what it leads to is replaced, as in
    a container, whose registry lies on a volume."""
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".assets-", suffix=".tmp")
    os.close(descriptor)
    made = Path(name)
    try:
        yield made
        made.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
