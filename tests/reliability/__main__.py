"""`python -m tests.reliability CAMPAIGN [--seeds A-B] [--time SECONDS]`: play a campaign, or go on with it.

A seed that has passed at this commit, on this server, is not played again, unless it is the only one that is asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from scripts.postgres import Server, temporary_postgres
from tests.conftest import TEST_SERVER_SETTINGS
from tests.reliability.campaign import ROOT, Record, commit_at_hand, play, summary
from tests.reliability.clocks import CLOCKS
from tests.reliability.histories import HISTORIES
from tests.reliability.kills import KILLS
from tests.reliability.providers import PROVIDERS
from tests.reliability.resources import RESOURCES
from tests.reliability.together import TOGETHER

CAMPAIGNS = {campaign.name: campaign for campaign in (KILLS, HISTORIES, PROVIDERS, CLOCKS, TOGETHER, RESOURCES)}


@contextmanager
def server_of_choice() -> Iterator[tuple[Server, str]]:
    """The embedded server, or with PG=15 Debian's with its own settings; and what it calls itself."""
    programs = Path(f"/usr/lib/postgresql/{os.environ['PG']}/bin") if os.environ.get("PG") else None
    settings = {"timezone": "UTC", **TEST_SERVER_SETTINGS} if programs else None
    with temporary_postgres(programs, settings) as server:
        if not programs:
            with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
                for name, value in TEST_SERVER_SETTINGS.items():
                    connection.execute(f"alter system set {name} = {value}".encode())
                connection.execute("select pg_reload_conf()")
        with psycopg.connect(server.dsn("postgres")) as connection:
            yield server, f"PostgreSQL {connection.info.server_version // 10000}"


def main() -> int:
    """0 where every seed that was played has passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "campaign", choices=CAMPAIGNS, help="; ".join(f"{c.name}: {c.promise}" for c in CAMPAIGNS.values())
    )
    parser.add_argument("--seeds", default="1-1000000", help="one, or A-B")
    parser.add_argument("--time", type=float, default=600, help="seconds after which no seed is begun")
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    campaign = CAMPAIGNS[chosen.campaign]
    folder = ROOT / ".warehouse" / "reliability"
    with server_of_choice() as (server, name), TemporaryDirectory(prefix="reliability-") as directory:
        record = Record(folder / f"{campaign.name}.jsonl", commit_at_hand(), name)
        # A replay says what it said the first time, whatever has passed since.
        played = replace(record, path=folder / "replays.jsonl", commit="replay") if len(seeds) == 1 else record
        if len(seeds) == 1:
            played.path.unlink(missing_ok=True)
        failed = play(campaign, seeds, server, played, Path(directory) / "project", chosen.time)
    print(summary(campaign, played))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
