"""`python -m scripts.spark up|down|status|dbt ...`: Spark from a shell."""

from __future__ import annotations

import os
import sys

from scripts.spark import Cluster, SparkError, configure

USAGE = "use up, down, status, or dbt with its arguments"


def main(arguments: list[str]) -> int:
    """`python -m scripts.spark up|down|status|dbt ...`."""
    action, *more = arguments or ["status"]
    cluster = Cluster()
    if action == "up":
        cluster.up()
        print(f"Spark runs at {cluster.master}: a master and two workers; stop it: make spark-down")
    elif action == "down":
        cluster.down()
        print("Spark is stopped; its tables stay in .warehouse/spark")
    elif action == "status":
        print(f"running at {cluster.master}" if cluster.is_running() else "not running (start it: make spark-up)")
    elif action == "dbt":
        # On the cluster where it runs, else within dbt's own process.
        environment = configure(master=cluster.master if cluster.is_running() else "local[2]")
        os.execve(
            sys.executable,
            [sys.executable, "-m", "dbt.cli.main", *more, "--target", "spark"],
            {**os.environ, **environment},
        )
    else:
        print(f"unknown action {action!r}: {USAGE}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SparkError as error:
        print(error, file=sys.stderr)
        sys.exit(78)
