"""Spark itself: that it takes the SQL of the heavy layer, and a cluster that starts and ends. `make test-spark`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.spark import Cluster, find_installation
from tests.conftest import ROOT
from tests.spark.compiled import compile_for_spark

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Spark's parser in a JVM without a session: 3 s instead of 20. Raises what Spark says."""
    from pyspark.java_gateway import launch_gateway

    installation = find_installation()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment(tmp_path_factory.mktemp("conf")).items():
            patch.setenv(name, value)
        gateway = launch_gateway()
    gateway.jvm.org.apache.spark.sql.internal.SQLConf.get().setConfString("spark.sql.ansi.enabled", "true")
    yield gateway.jvm.org.apache.spark.sql.execution.SparkSqlParser().parsePlan
    gateway.shutdown()


def test_spark_parses_every_model_of_the_heavy_layer(parse: Any, tmp_path: Path) -> None:
    from dbt.cli.main import dbtRunner

    places = ["--project-dir", str(ROOT), "--profiles-dir", str(ROOT), "--target-path", str(tmp_path)]
    parsed = dbtRunner().invoke(["parse", "--quiet", "--log-path", str(tmp_path), *places])
    assert parsed.success, parsed.exception
    refused = {}
    for name, text in compile_for_spark(parsed.result, ROOT, tmp_path).items():
        try:
            parse(text)
        except Exception as error:
            refused[name] = str(error)[:500]
    assert not refused


def test_its_parser_refuses_what_is_no_sql_of_spark(parse: Any) -> None:
    with pytest.raises(Exception, match="PARSE_SYNTAX_ERROR"):
        parse("select a::text from b")


def test_a_cluster_starts_computes_and_ends(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, port=17099)
    assert not cluster.is_running()
    cluster.up()
    try:
        assert cluster.is_running()
        code = (
            "from pyspark.sql import SparkSession; s = SparkSession.builder.getOrCreate();"
            " s.sql('create table ice.default.t using iceberg as select id from range(100)');"
            " print('sum', s.sql('select sum(id) from ice.default.t').first()[0]); s.stop()"
        )
        environment = os.environ | find_installation().environment(tmp_path / "conf")
        said = subprocess.run(
            [str(ROOT / ".venv" / "bin" / "python"), "-c", code],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert "sum 4950" in said.stdout, said.stderr[-2000:]
    finally:
        cluster.down()
    assert not cluster.is_running()
    assert not list(tmp_path.glob("*.pid"))
