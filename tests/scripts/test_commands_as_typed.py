"""What the README, the guides and the operators' files tell people to type exists: make targets, `market` commands with
their options, files that are copied. Each is parsed as the shell and the program parse it; none is run."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from dbt.clients.yaml_helper import load_yaml_text
from typer.core import TyperGroup

from scripts.cli import app
from tests.conftest import ROOT

DEPLOY = ROOT / "docs" / "operate" / "deploy"
CONTAINERFILE = DEPLOY / "Containerfile"
COMPOSE = DEPLOY / "compose.yaml"
# One page is about the commands that there are not.
NOT_THERE = ROOT / "docs" / "reference" / "not_there_yet.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {NOT_THERE})]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SHELL = {"", "sh", "shell", "bash", "console"}


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^\.PHONY: (\w[\w-]*)", (ROOT / "Makefile").read_text(), re.M))


@cache
def program() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of shell: words, without comments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            if words:
                yield words
            words = []
            if set(word) & set("<>"):
                # What follows is the file that is read or written.
                next(lexer, None)
        else:
            words.append(word)
    if words:
        yield words


def problem(words: list[str]) -> str | None:
    """Why a command cannot be typed like that; None when it can, or is no command of ours."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if not words:
        return None
    name = words[0].removeprefix(".venv/bin/")
    if name == "make":
        goals = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        return next((f"make has no target {goal}" for goal in goals if goal not in targets()), None)
    if name == "cp":
        return None if (ROOT / words[1]).exists() else f"{words[1]} is not there"
    if name == "market":
        return misused(words[1:])
    return None


def misused(arguments: list[str]) -> str | None:
    """What `market` says against these arguments; values in capitals or brackets stand for the reader's own."""
    if not arguments or arguments[0].startswith("-") or arguments[0].isupper():
        return None
    command = program().commands.get(arguments[0])
    if command is None:
        return f"market has no command {arguments[0]}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    for word in arguments[1:]:
        option = word.partition("=")[0]
        if word.startswith("--") and option not in known:
            return f"market {arguments[0]} has no option {option}"
    return None


def typed(text: str) -> Iterator[str]:
    for language, block in BLOCK.findall(text):
        if language in SHELL:
            yield from (line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())


def wrong_in(text: str) -> list[str]:
    """Lines of the blocks, and code in the running text, that cannot be typed."""
    prose = re.sub(BLOCK, "", text)
    lines = [*typed(text), *re.findall(r"`((?:make|market) [^`\n…]+)`", prose)]
    out = []
    for line in lines:
        # [What may be left out.]
        line = re.sub(r"\[[^\]]*\]", "", line).strip()
        try:
            found = [why for words in commands(line) if (why := problem(words))]
        except ValueError:
            # An apostrophe in what a command prints: no line of ours.
            found = []
        out += [f"{line}: {why}" for why in found]
    return out


def test_what_the_pages_tell_to_type_exists() -> None:
    found = {str(page.relative_to(ROOT)): wrong_in(page.read_text()) for page in PAGES}
    assert {page: wrong for page, wrong in found.items() if wrong} == {}
    assert sum(len([*typed(page.read_text())]) for page in PAGES) > 100


def test_what_does_not_exist_is_found() -> None:
    text = "```\nmake demo\nmake dmo EVERY=5m   # a comment\nPGHOST=x market status --jsn | head >out\ncp .env.sample .env\n```\n"
    assert wrong_in(text + "Then `market frobnicate`, not `market status`.") == [
        "make dmo EVERY=5m   # a comment: make has no target dmo",
        "PGHOST=x market status --jsn | head >out: market status has no option --jsn",
        "cp .env.sample .env: .env.sample is not there",
        "market frobnicate: market has no command frobnicate",
    ]


def test_the_readme_says_once_how_its_commands_are_typed() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("activate` once per shell") == 1
    assert text.index("activate` once per shell") < text.index("\nmarket "), "before the first command that needs it"


# ---------------------------------------------------------------- the operators' files


def test_what_schedulers_are_told_to_start_exists() -> None:
    found = {}
    for path in sorted(DEPLOY.iterdir()):
        calls = re.findall(r"(?:\.venv/bin/market|^ExecStart=\S+/market) ([a-z][\w -]*)", path.read_text(), re.M)
        found[path.name] = calls
        assert [why for call in calls if (why := misused(call.split()))] == [], path.name
    for name in ("crontab", "market-warehouse.service", "github-actions.yml", "airflow_dag.py"):
        assert any(call.split()[0] == "run" for call in found[name]), name


@pytest.mark.parametrize("name", ["airflow_dag.py", "dagster_definitions.py"])
def test_definitions_of_other_schedulers_are_python_that_starts_a_run(name: str) -> None:
    """Their own packages are not installed here; what they are given is read from the syntax tree."""
    tree = ast.parse((DEPLOY / name).read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert "30 1 * * *" in texts, "the hour of the other schedulers"
    starts = [text for text in texts if text == "run" or "market run" in text]
    assert starts
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported & {"airflow.sdk", "dagster"}


# ---------------------------------------------------------------- containers


def copied() -> list[str]:
    """What the Containerfile copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE.read_text(), re.M)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_has_all_that_its_program_reads(tmp_path: Path) -> None:
    """The copied files alone, in a folder of their own: the program starts there, make finds what it installs from."""
    for source in copied():
        assert (ROOT / source).exists(), source
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(ROOT / source, tmp_path / source, ignore=ignored, dirs_exist_ok=True)
        else:
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, tmp_path / source)
    look = "import scripts.cli, extract, market_warehouse; print(scripts.cli.__file__, market_warehouse.__file__)"
    started = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True)
    assert started.stdout.count(str(tmp_path)) == 2, started.stderr
    made = re.findall(r"make (\S+) PYTHON=python3", CONTAINERFILE.read_text())
    assert made == [".venv/.requirements-demo", ".venv/.project"]
    planned = subprocess.run(["make", "-n", *made, "PYTHON=python3"], cwd=tmp_path, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    assert "requirements-demo.lock" in planned.stdout and "--editable ." in planned.stdout


def test_services_start_commands_that_exist_and_know_their_settings() -> None:
    composed = load_yaml_text(COMPOSE.read_text())
    assert composed is not None
    services = composed["services"]
    assert set(services) == {"database", "pipeline", "api"}
    example = (ROOT / ".env.example").read_text()
    for name in ("pipeline", "api"):
        service = services[name]
        assert misused(service["command"]) is None, name
        assert service["depends_on"]["database"]["condition"] == "service_healthy"
        assert [key for key in service["environment"] if f"{key}=" not in example] == []
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(composed["volumes"])
        dockerfile = (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).resolve()
        assert dockerfile == CONTAINERFILE
    assert services["api"]["ports"] == ["127.0.0.1:8000:8000"], "of this machine only"
    assert re.search(r":\s*\$\{PGPASSWORD:\?", COMPOSE.read_text()), "no password is made up"
    assert "PASSWORD=" not in CONTAINERFILE.read_text() and "KEY=" not in CONTAINERFILE.read_text()


def test_the_shell_completes_commands_and_options() -> None:
    for words, expected in (("market backfill-", "backfill-resume"), ("market export --nu", "--numbers")):
        asked = {"_MARKET_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        program = "from scripts.cli import app; app(prog_name='market')"
        told = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **asked}, capture_output=True, text=True
        )
        assert expected in told.stdout.splitlines(), told.stderr
