"""The SQL of the heavy layer as Spark gets it, made without Spark, its adapter or a database.

Data flow: parsed project -> a fork in which dispatch chooses spark__ macros and no relation exists -> compiled SQL by model.
"""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path
from typing import Any

HEAVY_LAYER = "+market_data_v2"


def compile_for_spark(manifest: Any, project: Path, target: Path) -> dict[str, str]:
    """Compiled SQL by name of each model from staging to the mart, as a full build on Spark has it.

    manifest: dbt's parsed project (not its JSON). Raises AssertionError where one does not compile.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        # Whatever happens, this copy of pytest does not go on.
        try:
            os.close(reads)
            try:
                answer: Any = _compile(manifest, project, target)
            except BaseException:
                answer = traceback.format_exc()
            with os.fdopen(writes, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        compiled = pickle.load(pipe)
    os.waitpid(child, 0)
    assert isinstance(compiled, dict), compiled
    return compiled


def _compile(manifest: Any, project: Path, target: Path) -> dict[str, str]:
    from dbt.adapters.base.impl import BaseAdapter
    from dbt.adapters.contracts.connection import AdapterResponse
    from dbt.adapters.sql.impl import SQLAdapter
    from dbt.cli.main import dbtRunner
    from dbt.context.providers import BaseDatabaseWrapper
    from dbt_common.clients.agate_helper import empty_table

    # The adapter is the one at hand, Postgres': nothing asks it but names of relations.
    BaseDatabaseWrapper._get_adapter_macro_prefixes = lambda self: ["spark", "default"]  # type: ignore[method-assign]
    BaseAdapter.get_relation = lambda *_, **__: None  # type: ignore[method-assign]
    nothing = (AdapterResponse("none"), empty_table())  # type: ignore[no-untyped-call]
    SQLAdapter.execute = lambda *_, **__: nothing  # type: ignore[method-assign]
    places = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)]
    quiet = ["--quiet", "--log-path", str(target), "--no-populate-cache", "--no-write-json", "--log-level-file", "none"]
    outcome: Any = dbtRunner(manifest=manifest).invoke(
        ["compile", "--full-refresh", "--select", HEAVY_LAYER, "--exclude", "resource_type:test", *places, *quiet]
    )
    results: list[Any] = outcome.result.results if outcome.result else []
    assert outcome.success, outcome.exception or [result.message for result in results if result.message]
    models = [result.node for result in results if result.node.resource_type == "model"]
    # Postgres puts names of relations in double quotes, which are texts to Spark.
    return {node.name: node.compiled_code.replace(f'"{node.database}".', "").replace('"', "`") for node in models}
