"""Rules of the dbt project that no linter knows, checked on dbt's manifest. No exceptions are listed anywhere.

Each rule takes the manifest and gives its violations, a line each; each is also shown one thing that it must find.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extract.calendar import seeds
from extract.core import sources
from scripts import environment
from tests.conftest import ROOT
from tests.spark import sql_rules
from tests.spark.compiled import compile_for_spark

Manifest = dict[str, Any]
Rule = Callable[[Manifest], Iterator[str]]

STAGED = (*sources.names(), "ops", "legacy")
# What engines spell differently, or what our style leaves out; only the portability macros may.
UNPORTABLE = {
    "`::`": re.compile(r"::"),
    "`at time zone`": re.compile(r"\bat\s+time\s+zone\b", re.I),
    "FILTER in an aggregate": re.compile(r"\bfilter\s*\(\s*where\b", re.I),
    "`distinct on`": re.compile(r"\bdistinct\s+on\b", re.I),
    "`over (w rows ...)`": re.compile(r"\bover\s*\(\s*\w+\s+(rows|range)\b", re.I),
}
# `where loaded_at > (select max(loaded_at) ...)`: NULL on the first run, and it drops every series that reports late.
WATERMARK = re.compile(r"[<>]=?\s*\(\s*select\s+(coalesce\(\s*)?max\(\s*[\w.]*(_at|time|timestamp|date)\b", re.I)
SEEDED = {
    *(row["timeframe"] for row in seeds.rows(ROOT / seeds.SEEDS / "timeframes.csv")),
    *(row[name] for row in seeds.rows(ROOT / seeds.SEEDS / "calendars.csv") for name in ("calendar", "time_zone")),
} - {"UTC"}
NAMED = re.compile(f"'(?:{'|'.join(map(re.escape, sorted(SEEDED)))})'")
# Macros of the former system's table, and of Binance's files of samples.
OF_ONE_SOURCE = ("legacy.sql", "binance.sql")
PLANNER_SETTING = re.compile(
    r"\b(enable_[a-z_]+|[a-z_]+_cost|(join|from)_collapse_limit|work_mem)(?=\s*(=|to\b))", re.I
)
# A cast, or a date taken, of what a provider sent: of a row, of the payload, of the text of a member.
CAST_OF_ANSWER = re.compile(r"\bcast\(\s*(\{\{\s*json_text|\(*[\w.]*\b(item|payload)\b)", re.I)
COMMENTS = re.compile(r"\{#.*?#\}|--[^\n]*|/\*.*?\*/", re.S)


def nodes(manifest: Manifest, *kinds: str) -> Iterator[dict[str, Any]]:
    for node in manifest["nodes"].values():
        if node["resource_type"] in kinds and node["package_name"] == "market_warehouse":
            yield node


def layer(node: dict[str, Any]) -> str:
    return node["fqn"][1] if len(node["fqn"]) > 2 else ""


def code(text: str) -> str:
    return COMMENTS.sub("", text)


def every_thing_is_described(manifest: Manifest) -> Iterator[str]:
    things = [*nodes(manifest, "model", "seed", "snapshot", "analysis"), *manifest["sources"].values()]
    things += [*manifest["exposures"].values(), *manifest["unit_tests"].values()]
    things += [macro for macro in manifest["macros"].values() if macro["package_name"] == "market_warehouse"]
    for thing in things:
        # A generic test is described where it is used, an engine's implementation at the macro that dispatches to it.
        own = not thing["name"].startswith(("test_", "postgres__", "default__", "spark__"))
        if own and not thing.get("description", "").strip():
            yield f"{thing['resource_type']} {thing['name']} has no description"


def every_column_is_described(manifest: Manifest) -> Iterator[str]:
    for node in [*nodes(manifest, "model", "seed", "snapshot"), *manifest["sources"].values()]:
        if not node["columns"]:
            yield f"{node['resource_type']} {node['name']} describes no column"
        for column in node["columns"].values():
            if not column["description"].strip():
                yield f"column {node['name']}.{column['name']} has no description"


def every_test_is_described(manifest: Manifest) -> Iterator[str]:
    for test in nodes(manifest, "test"):
        if not test.get("description", "").strip():
            yield f"test {test['name']} has no description"


def no_answer_can_fail_an_error(manifest: Manifest) -> Iterator[str]:
    """A test that stops a build must not hang on what a provider sends; each says why it does not. Seeds are ours."""
    for test in nodes(manifest, "test"):
        severity = str(test["config"].get("severity") or "error").lower()
        of_seed = str(test.get("attached_node") or "").startswith("seed.")
        if severity == "error" and not of_seed and "No answer can fail it: " not in test["description"]:
            yield f"test {test['name']} stops builds, and does not say why no answer can fail it (or make it a warning)"


def sources_are_read_in_staging_only(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model", "snapshot", "test"):
        reads = [name for name in node["depends_on"]["nodes"] if name.startswith("source.")]
        if reads and layer(node) != "staging" and node["resource_type"] != "test":
            yield f"{node['name']} reads {', '.join(sorted(reads))}"


def layers_are_read_downwards(manifest: Manifest) -> Iterator[str]:
    order = {"staging": 0, "intermediate": 1, "marts": 2}
    for node in nodes(manifest, "model"):
        for name in node["depends_on"]["nodes"]:
            other = manifest["nodes"].get(name)
            if other and other["resource_type"] == "model" and order[layer(other)] > order[layer(node)]:
                yield f"{node['name']} ({layer(node)}) reads {other['name']} ({layer(other)})"


def marts_have_contracts(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model"):
        if layer(node) == "marts":
            if not node["config"]["contract"]["enforced"]:
                yield f"{node['name']} has no enforced contract"
            for column in node["columns"].values():
                if not column["data_type"]:
                    yield f"{node['name']}.{column['name']} has no type"


def marts_are_public_and_all_else_private(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model"):
        wanted = "public" if layer(node) == "marts" else "private"
        if node["access"] != wanted:
            yield f"{node['name']} is {node['access']}, not {wanted}"
        if not node["group"]:
            yield f"{node['name']} has no owner group"


def every_mart_has_a_tested_key(manifest: Manifest) -> Iterator[str]:
    unique = {
        test["attached_node"]
        for test in nodes(manifest, "test")
        if test.get("test_metadata") and "unique" in test["test_metadata"]["name"]
    }
    for node in nodes(manifest, "model"):
        constrained = any(c["type"] in ("primary_key", "unique") for c in node["constraints"]) or any(
            c["type"] in ("primary_key", "unique") for column in node["columns"].values() for c in column["constraints"]
        )
        if layer(node) == "marts" and node["unique_id"] not in unique and not constrained:
            yield f"{node['name']} has no unique test or key"


def sql_texts(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """(name, file, SQL) of models, tests and our macros."""
    for node in nodes(manifest, "model", "test"):
        yield node["name"], node["original_file_path"], node["raw_code"]
    for macro in manifest["macros"].values():
        if macro["package_name"] == "market_warehouse":
            yield macro["name"], macro["original_file_path"], macro["macro_sql"]


def sql_is_portable(manifest: Manifest) -> Iterator[str]:
    for name, path, text in sql_texts(manifest):
        if Path(path).name.startswith("portability"):
            continue
        for what, pattern in UNPORTABLE.items():
            if pattern.search(code(text)):
                yield f"{name} uses {what}"


def timeframes_and_calendars_stand_in_seeds(manifest: Manifest) -> Iterator[str]:
    """What is shared by all sources knows lengths and sessions, not their names: a line of a seed has to be enough. The day and
    the week have their names from a macro; the table of the former system, and Binance's files of samples, from themselves."""
    texts = [
        (node["name"], node["raw_code"])
        for node in nodes(manifest, "model", "test")
        # A test that is used in YAML has no SQL of its own.
        if node["original_file_path"].endswith(".sql")
        and layer(node) != "staging"
        and "legacy" not in node["original_file_path"]
    ]
    texts += [
        (macro["name"], macro["macro_sql"])
        for macro in manifest["macros"].values()
        if macro["package_name"] == "market_warehouse" and Path(macro["original_file_path"]).name not in OF_ONE_SOURCE
    ]
    for name, text in texts:
        if name not in ("day_timeframe", "week_timeframe"):
            for found in sorted(set(NAMED.findall(code(text)))):
                yield f"{name} names {found}"


def plans_hold_with_stock_settings(manifest: Manifest) -> Iterator[str]:
    """A plan that needs the planner's settings changed is bad again where the change does not reach: in an increment."""
    for name, _, text in sql_texts(manifest):
        if found := PLANNER_SETTING.search(code(text)):
            yield f"{name} sets {found.group()}"


def answers_are_converted_by_macros(manifest: Manifest) -> Iterator[str]:
    """A cast of what a provider sent stops every build of every symbol at the first odd value: the macros give NULL."""
    later = {node["name"] for node in nodes(manifest, "model", "test") if layer(node) != "staging"}
    for name, path, text in sql_texts(manifest):
        if name not in later and not Path(path).name.startswith("portability") and CAST_OF_ANSWER.search(code(text)):
            yield f"{name} casts what a provider sent: use json_integer, json_decimal, date_from_text, instant_from_text ..."


def no_time_is_a_watermark(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model"):
        if WATERMARK.search(code(node["raw_code"])):
            yield f"{node['name']} compares with the maximum of a time"


# Macros that take the name of a model whose watermark, table or stamp they look up, with the place of that name.
MARKED = re.compile(
    r"\b(?:watermark|is_full_build|is_rebuilt_in_place|is_new_load|replaced_series|is_of_replaced_series|relation_of|new_columns"
    r"|read_up_to|last_written_at|processed_by)\(\s*(\[[^\]]*\]|'\w+')|\bmodel = '(\w+)'|\bprepares=(\[[^\]]*\]|'\w+')"
)


def hooks(node: dict[str, Any]) -> str:
    return "\n".join(hook["sql"] for kind in ("pre-hook", "post-hook") for hook in node["config"].get(kind, []))


def every_watermark_names_a_model(manifest: Manifest) -> Iterator[str]:
    """Renamed, a model would read everything again, and those that go by its mark nothing any more."""
    known = {node.get("alias") or node["name"] for node in nodes(manifest, "model", "snapshot")}
    texts = [(node["name"], node["raw_code"] + hooks(node)) for node in nodes(manifest, "model", "snapshot", "test")]
    texts += [
        (macro["name"], macro["macro_sql"])
        for macro in manifest["macros"].values()
        if macro["package_name"] == "market_warehouse"
    ]
    for where, text in texts:
        for found in MARKED.findall(code(text)):
            for name in re.findall(r"\w+", " ".join(found)):
                if name not in known:
                    yield f"{where} looks up the mark of {name}, which is no model"


def parents_of_watermarks_are_references(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model", "snapshot"):
        for parents in re.findall(r"advance_watermark\(\[(.*?)\]", hooks(node), re.S):
            if re.sub(r"ref\('\w+'(, v=\d)?\)|[\s,]", "", parents):
                yield f"{node['name']} advances by names, not by ref(): {parents}"


def what_prepares_is_read_in_full(manifest: Manifest) -> Iterator[str]:
    """A model for which another gathers the changed rows must not be built in full from them."""
    every = {node.get("alias") or node["name"]: node for node in nodes(manifest, "model", "snapshot")}
    for node in every.values():
        for prepared in re.findall(r"\bprepares=(\[[^\]]*\]|'\w+')", hooks(node)):
            for name in re.findall(r"\w+", prepared):
                if f"require_full_input(ref('{node['name']}'))" not in hooks(every.get(name, node)):
                    yield f"{node['name']} prepares rows for {name}, which does not require them in full"


def models_are_named_by_their_layer(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model"):
        name, where = node["name"], layer(node)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            yield f"{name} is not in snake case"
        if where == "staging" and not re.fullmatch(f"stg_{node['fqn'][2]}__[a-z0-9_]+", name):
            yield f"{name} is not named stg_{node['fqn'][2]}__<what>"
        if where == "intermediate" and not name.startswith("int_"):
            yield f"{name} does not start with int_"
        if where == "marts" and name.startswith(("int_", "stg_", "fct_", "dim_", "mart_")):
            yield f"{name} has a prefix; marts have plain names"
        if where not in ("staging", "intermediate", "marts"):
            yield f"{name} lies in no layer"


def staging_is_views_of_known_sources(manifest: Manifest) -> Iterator[str]:
    for node in nodes(manifest, "model"):
        if layer(node) == "staging":
            if node["config"]["materialized"] != "view":
                yield f"{node['name']} is a {node['config']['materialized']}"
            if node["fqn"][2] not in STAGED:
                yield f"{node['name']} lies in no source's folder"


def marts_outlive_a_build(manifest: Manifest) -> Iterator[str]:
    """A table that dbt makes anew takes all views on it away, until they are built again."""

    def tables_behind(node: dict[str, Any]) -> Iterator[str]:
        for name in node["depends_on"]["nodes"]:
            other = manifest["nodes"].get(name)
            if other and other["config"]["materialized"] == "view":
                yield from tables_behind(other)
            elif other and other["config"]["materialized"] == "table":
                yield other["name"]

    for node in nodes(manifest, "model"):
        if layer(node) == "marts" and node["config"]["materialized"] == "view":
            for table in tables_behind(node):
                yield f"{node['name']} is a view on {table}, a table that is made anew: make that table_in_place"


RULES: list[Rule] = [
    every_thing_is_described,
    every_column_is_described,
    every_test_is_described,
    no_answer_can_fail_an_error,
    sources_are_read_in_staging_only,
    layers_are_read_downwards,
    marts_have_contracts,
    marts_are_public_and_all_else_private,
    every_mart_has_a_tested_key,
    sql_is_portable,
    timeframes_and_calendars_stand_in_seeds,
    plans_hold_with_stock_settings,
    answers_are_converted_by_macros,
    no_time_is_a_watermark,
    every_watermark_names_a_model,
    parents_of_watermarks_are_references,
    what_prepares_is_read_in_full,
    models_are_named_by_their_layer,
    staging_is_views_of_known_sources,
    marts_outlive_a_build,
]


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The project as dbt holds it, and the folder with its manifest.json."""
    from dbt.cli.main import dbtRunner

    # A fresh clone has no registry, only its example.
    environment.make_registry()
    target = tmp_path_factory.mktemp("manifest")
    places = ["--project-dir", str(ROOT), "--profiles-dir", str(ROOT), "--target-path", str(target)]
    # A macro's description that dbt cannot read stops no build of users, but this suite.
    strict = ["--warn-error-options", json.dumps({"error": ["Deprecations", "InvalidMacroAnnotation"]})]
    parsed = dbtRunner().invoke(["parse", "--quiet", "--no-partial-parse", "--log-path", str(target), *strict, *places])
    assert parsed.success, parsed.exception
    return parsed.result, target


@pytest.fixture(scope="module")
def manifest(parsed: tuple[Any, Path]) -> Manifest:
    return json.loads((parsed[1] / "manifest.json").read_text())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(manifest: Manifest, rule: Rule) -> None:
    violations = sorted(set(rule(manifest)))
    assert not violations, f"{len(violations)}:\n" + "\n".join(violations)


def test_heavy_layer_is_sql_of_spark(parsed: tuple[Any, Path]) -> None:
    """Every model from staging to the mart, with Spark's macros, in a parser of its dialect; `make test-spark` asks Spark."""
    compiled = compile_for_spark(parsed[0], ROOT, parsed[1])
    assert {"stg_yahoo__bars", "int_bars_resampled", "market_data"} <= set(compiled)
    found = sorted(sql_rules.violations(compiled))
    assert not found, f"{len(found)}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "select cast(a as text) from b",
        "select cast(null as numeric) as a",
        "select timestamp with time zone '2024-01-01 00:00:00+00' as a",
        "select sum(a) over w - lag(a) over w from b window w as (order by c)",
        "select extract(epoch from a) from b",
        "select num_nonnulls(a, b) from c",
        "select pg_typeof(a) from b",
        "select a from b where (",
    ],
)
def test_what_spark_refuses_is_found(text: str) -> None:
    assert list(sql_rules.violations({"a": text})), text
    assert not list(
        sql_rules.violations({"a": "select cast(a as string), (sum(b) over w) - c from d window w as (order by e)"})
    )


# ---------------------------------------------------------------- each rule finds what it is for


def model(name: str, folder: str, **changes: Any) -> dict[str, Any]:
    """A model that breaks no rule, with changes."""
    where, *rest = folder.split("/")
    node = {
        "resource_type": "model", "package_name": "market_warehouse", "unique_id": f"model.market_warehouse.{name}",
        "name": name, "fqn": ["market_warehouse", where, *rest, name], "description": "What it is.",
        "group": "pipeline",
        "columns": {"a": {"name": "a", "description": "What it is.", "data_type": "text", "constraints": []}},
        "depends_on": {"nodes": []}, "raw_code": "select 1 as a", "original_file_path": f"{folder}/{name}.sql",
        "access": "public" if where == "marts" else "private", "constraints": [{"type": "primary_key"}],
        "config": {"materialized": "view" if where == "staging" else "table", "contract": {"enforced": True}},
    }  # fmt: skip
    return node | changes


def manifest_of(*some: dict[str, Any]) -> Manifest:
    return {
        "nodes": {node["unique_id"]: node for node in some},
        "sources": {}, "exposures": {}, "unit_tests": {}, "macros": {},
    }  # fmt: skip


def hooked(sql: str) -> dict[str, Any]:
    return {"materialized": "table", "contract": {"enforced": True}, "post-hook": [{"sql": sql}]}


GOOD = [model("stg_yahoo__bars", "staging/yahoo"), model("int_bars", "intermediate/bars"), model("prices", "marts/x")]
UNDESCRIBED: dict[str, Any] = {"a": {"name": "a", "description": "", "data_type": None, "constraints": []}}
DATA_TEST = {"resource_type": "test", "description": "", "attached_node": None, "test_metadata": None}
FATAL_TEST = DATA_TEST | {"description": "Prices are positive.", "config": {"severity": "ERROR"}}
BAD: dict[str, dict[str, Any]] = {
    "every_thing_is_described": model("int_bars", "intermediate/bars", description=" "),
    "every_column_is_described": model("int_bars", "intermediate/bars", columns=UNDESCRIBED),
    "every_test_is_described": model("t", "bars", **DATA_TEST),
    "no_answer_can_fail_an_error": model("t", "bars", **FATAL_TEST),
    "sources_are_read_in_staging_only": model(
        "int_bars", "intermediate/bars", depends_on={"nodes": ["source.market_warehouse.raw_yahoo.responses"]}
    ),
    "layers_are_read_downwards": model(
        "stg_yahoo__bars", "staging/yahoo", depends_on={"nodes": ["model.market_warehouse.prices"]}
    ),
    "marts_have_contracts": model(
        "prices", "marts/x", config={"materialized": "table", "contract": {"enforced": False}}
    ),
    "marts_are_public_and_all_else_private": model("int_bars", "intermediate/bars", access="public"),
    "every_mart_has_a_tested_key": model("prices", "marts/x", constraints=[]),
    "sql_is_portable": model("int_bars", "intermediate/bars", raw_code="select a::text from b -- fine"),
    "timeframes_and_calendars_stand_in_seeds": model(
        "int_bars", "intermediate/bars", raw_code="where timeframe = '4h'"
    ),
    "plans_hold_with_stock_settings": model(
        "int_bars", "intermediate/bars", raw_code="set local enable_nestloop = off; select 1 as a"
    ),
    "answers_are_converted_by_macros": model(
        "stg_yahoo__bars", "staging/yahoo", raw_code="select cast(rows.item as bigint) from x"
    ),
    "no_time_is_a_watermark": model(
        "int_bars", "intermediate/bars", raw_code="select 1 where loaded_at > (select max(loaded_at) from x)"
    ),
    "every_watermark_names_a_model": model(
        "int_bars", "intermediate/bars", raw_code="select 1 where batch > {{ watermark('int_former') }}"
    ),
    "parents_of_watermarks_are_references": model(
        "int_bars", "intermediate/bars", config=hooked("{{ advance_watermark([ref('int_a'), 'int_b']) }}")
    ),
    "what_prepares_is_read_in_full": model(
        "int_bars", "intermediate/bars", config=hooked("{{ advance_watermark([ref('int_a')], prepares='prices') }}")
    ),
    "models_are_named_by_their_layer": model("bars", "intermediate/bars"),
    "staging_is_views_of_known_sources": model(
        "stg_yahoo__bars", "staging/yahoo", config={"materialized": "table", "contract": {"enforced": False}}
    ),
    "marts_outlive_a_build": model(
        "prices",
        "marts/x",
        config={"materialized": "view", "contract": {"enforced": True}},
        depends_on={"nodes": ["model.market_warehouse.int_bars"]},
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_finds_what_it_is_for(rule: Rule) -> None:
    assert list(rule(manifest_of(*GOOD))) == []
    bad = BAD[rule.__name__]
    others = [node for node in GOOD if node["name"] != bad["name"]]
    assert len(list(rule(manifest_of(*others, bad)))) >= 1


def test_a_timeframe_or_calendar_in_a_model_is_found() -> None:
    named = model("int_a", "intermediate/a", raw_code="where timeframe = '4h' or calendar <> '24/7' or zone = 'UTC'")
    rule = timeframes_and_calendars_stand_in_seeds
    assert list(rule(manifest_of(named))) == ["int_a names '24/7'", "int_a names '4h'"]
    ours = model("int_a", "intermediate/a", raw_code="where timeframe = {{ day_timeframe() }} -- not '1d'")
    assert list(rule(manifest_of(ours))) == []


@pytest.mark.parametrize(
    "text",
    [
        "sum(a) filter (where b)",
        "opened_at at time zone 'UTC'",
        "select distinct on (a) a",
        "sum(a) over (w rows between 1 preceding and current row)",
    ],
)
def test_unportable_sql_is_found_outside_comments(text: str) -> None:
    assert len(list(sql_is_portable(manifest_of(model("int_a", "intermediate/a", raw_code=text))))) == 1
    commented = f"select 1 -- {text}\n"
    assert list(sql_is_portable(manifest_of(model("int_a", "intermediate/a", raw_code=commented)))) == []
