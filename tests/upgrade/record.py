"""Records a small warehouse as one released version of this project builds it, for tests/upgrade/test_upgrade.py.

Run in a checkout of that version, with its .venv: python /path/to/record.py NAME DIRECTORY
Writes DIRECTORY/NAME.sql.xz (a plain dump, made with PostgreSQL 15 so that each later one restores it) and NAME.json (the
registry and the clock). Run it when a version is released, and commit the two files.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")


def main(name: str, directory: Path) -> None:
    """Play a short history with amended, retracted, corrected and late bars and a split, build after each part, dump."""
    import os

    os.environ["PG_BIN"] = str(POSTGRES_15)
    os.environ["DBT_LOG_LEVEL_FILE"] = "none"
    from scripts.postgres import temporary_postgres
    from tests.dbt.histories import History
    from tests.warehouse import Database, Project, Warehouse, crypto, stock

    with temporary_postgres() as server, tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Database(server, "released"), Project.copy(Path.cwd(), Path(folder), described=False))
        warehouse.reset()
        history = History(
            11,
            [warehouse],
            datetime(2025, 4, 21, 21, 7, tzinfo=UTC),
            {"BTC": [crypto("BTC", "1h 1d")], "AAPL": [stock("AAPL", "1d")]},
            {
                ("binance", "BTC", "1h"): 150,
                ("yahoo", "BTC", "1d"): 30,
                ("polygon", "AAPL", "1d"): 90,
                ("yahoo", "AAPL", "1d"): 60,
            },
        )
        history.begin()
        warehouse.build()
        for _ in range(3):
            history.append()
            history.amend()
            history.samples()
        history.withdraw()
        history.split()
        warehouse.build()
        history.correct()
        history.spoil()
        history.append()
        warehouse.build()
        counts = warehouse.query(
            "select (select count(*) from marts.market_data_v2) as bars,"
            " (select count(*) from snapshots.market_data_history where dbt_valid_to is not null) as superseded,"
            " (select count(*) from marts.data_corrections) as corrections"
        )[0]
        print(counts)
        # Nine tenths of the dump otherwise, of years in which no bar lies.
        warehouse.execute("delete from intermediate.int_expected_bars where extract(year from bar_date) <> 2025")
        dump = subprocess.run(
            [POSTGRES_15 / "pg_dump", "--no-owner", "--dbname", warehouse.database.dsn],
            check=True,
            capture_output=True,
        )
        (directory / f"{name}.sql.xz").write_bytes(lzma.compress(dump.stdout, preset=9))
        facts = {
            "now": warehouse.now.isoformat(),
            "registry": [row for rows in history.registry.values() for row in rows],
        }
        (directory / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
