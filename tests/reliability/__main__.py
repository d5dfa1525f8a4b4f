"""`python -m tests.reliability [CAMPAIGN ...] [--seeds A-B] [--time SECONDS]`: play campaigns, or go on with them.

A seed that has passed at this commit, on this server, is not played again, unless it is the only one that is asked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from scripts.postgres import Server, temporary_postgres
from tests.conftest import OWN_SETTINGS, SUITE_SETTINGS, TEST_SERVER_SETTINGS
from tests.reliability.campaign import FOLDER, Campaign, Record, commit_at_hand, play, summary
from tests.reliability.clocks import CLOCKS
from tests.reliability.histories import HISTORIES
from tests.reliability.kills import KILLS
from tests.reliability.providers import PROVIDERS
from tests.reliability.together import TOGETHER

CAMPAIGNS = {campaign.name: campaign for campaign in (KILLS, HISTORIES, PROVIDERS, CLOCKS, TOGETHER)}


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    promises = "; ".join(f"{campaign.name}: {campaign.promise}" for campaign in CAMPAIGNS.values())
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"all if none is named. {promises}")
    parser.add_argument("--seeds", default="1-1000000", help="one, or A-B")
    parser.add_argument("--time", type=float, default=600, help="seconds after which a campaign begins no other seed")
    chosen = parser.parse_args()
    if unknown := set(chosen.campaigns) - set(CAMPAIGNS):
        parser.error(f"no campaign is called {', '.join(sorted(unknown))}; there are {', '.join(CAMPAIGNS)}")
    forget_own_settings()
    # Whoever stops it leaves no server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    failed = False
    for name in chosen.campaigns or CAMPAIGNS:
        failed |= play_one(CAMPAIGNS[name], seeds, chosen.time)
    return int(failed)


def forget_own_settings() -> None:
    """No setting of the caller's shell reaches a run: it would ask real providers, or send real alerts."""
    for name in list(os.environ):
        if name.startswith(OWN_SETTINGS) and name not in SUITE_SETTINGS:
            del os.environ[name]
    os.environ |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}
    os.environ |= {"FEATURE_COMPUTATION_WORKERS": "2", "DBT_LOG_LEVEL_FILE": "none"}


def play_one(campaign: Campaign, seeds: range, seconds: float) -> bool:
    """Play a campaign on a server of its own and say how it stands; whether a seed of it failed now."""
    with server_of_choice() as (server, name), TemporaryDirectory(prefix="reliability-") as directory:
        record = Record(FOLDER / f"{campaign.name}.jsonl", commit_at_hand(), name)
        if len(seeds) == 1:
            # A replay is played whatever the record says, and is none of the campaign's lines.
            record = replace(record, path=Path(directory) / "replay.jsonl")
        failed = play(campaign, seeds, server, record, Path(directory) / "project", seconds)
        print(summary(campaign, record), flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
