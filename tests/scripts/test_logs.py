"""The log: JSON objects or lines, each with time zone, level and run; secrets in neither; a build says what it is at."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from extract.core import logs, settings
from scripts.pipeline import build
from tests.conftest import ROOT

KEY = "canary-key-4711"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    monkeypatch.setenv("POLYGON_API_KEY", KEY)
    settings.load.cache_clear()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield logging.getLogger("extract.commands.extraction")
    root.handlers[:], _ = before
    root.setLevel(before[1])
    settings.load.cache_clear()


def test_json_has_one_object_a_line(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    settings.load.cache_clear()
    logs.configure()
    with logs.of_run("0123456789abcdef"):
        log.warning("BTC 1h: asked with %s\nin two lines", KEY, extra={"source": "polygon", "symbol": "BTC"})
    try:
        raise ValueError(f"wrong: {KEY}")
    except ValueError:
        log.exception("it failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {
        "level": "WARNING", "logger": "extract.commands.extraction", "message": "BTC 1h: asked with ***\nin two lines",
        "run_id": "0123456789abcdef", "source": "polygon", "symbol": "BTC",
    }  # fmt: skip
    assert second["run_id"] is None and "ValueError: wrong: ***" in second["traceback"]


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """A file where a folder should be ended in a traceback; a taken port in exit code 3, which means "partly done"."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, told in (
            (["export", "BTC", "--to", str(tmp_path / "file")], f"{tmp_path / 'file'}: File exists"),
            (
                ["serve", "--port", str(port)],
                f"http://127.0.0.1:{port} cannot be served: Address already in use (choose",
            ),
        ):
            command = [sys.executable, "-m", "scripts.cli", *arguments]
            environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": "9", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith(told)
            assert len(done.stderr.splitlines()) == 1


def test_lines_have_level_run_and_utc(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    with logs.of_run("0123456789abcdef"):
        log.info("all %d done", 3)
    log.error("asked with %s", KEY)
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ INFO \[01234567\] all 3 done", first)
    assert second.endswith("Z ERROR asked with ***")


def event(name: str, node: str = "", kind: str = "model", path: str = "", index: int = 1) -> SimpleNamespace:
    relation = SimpleNamespace(alias=node)
    about = SimpleNamespace(
        node_name=node, resource_type=kind, node_path=path, node_relation=relation, node_status="success"
    )
    return SimpleNamespace(info=SimpleNamespace(name=name), data=SimpleNamespace(node_info=about, index=index, total=9))


def test_a_build_says_each_stage_once_and_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "SILENCE_SECONDS", 0.01)
    with caplog.at_level(logging.INFO), build.Stages() as stages:
        stages.note(event("LogStartLine", "assets", "seed", "assets.csv"))
        stages.note(event("NodeFinished", "assets"))
        stages.note(event("LogStartLine", "int_bars", path="intermediate/bars/int_bars.sql", index=2))
        stages.note(event("LogStartLine", "int_bars_selected", path="intermediate/bars/x.sql", index=3))
        stages.note(event("LogStartLine", "a_promise", "test", "promise.sql", index=4))
        stages.note(event("MainReportVersion"))
        assert stages.mart_written is None
        stages.note(event("NodeFinished", "market_data_v2"))
        assert stages.mart_written is not None
        while "at work on" not in caplog.text:
            pass
    said = [re.sub(r", after.*", "", record.getMessage()) for record in caplog.records]
    stages_said = [line for line in said if "at work" not in line]
    assert stages_said == [
        "build: seeds, node 1 of 9", "build: intermediate bars, node 2 of 9", "build: tests, node 4 of 9",
    ]  # fmt: skip
    assert any(
        re.fullmatch(r"build: at work on a_promise \(\d+ s\), int_bars \(\d+ s\), int_bars_selected \(\d+ s\)", one)
        for one in said
    )
