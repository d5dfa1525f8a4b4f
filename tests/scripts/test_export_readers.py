"""Exports, opened by the libraries that they are for. Those weigh a gigabyte each, so they are no dependency: each is looked
for next to this Python, or in the one that a variable names.

    python -m venv freqtrade && freqtrade/bin/pip install freqtrade
    FREQTRADE_PYTHON=freqtrade/bin/python QLIB_PYTHON=... pytest tests/scripts/test_export_readers.py

Lean's reader is C#: its layout alone is tested (test_exports.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import pytest

from market_warehouse import bars
from tests.scripts.conftest import EX_DATE, SESSIONS
from tests.scripts.test_exports import exported
from tests.warehouse import Warehouse

FREQTRADE = """
from freqtrade.data.history import load_pair_history
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import TradingMode

folder = Path(sys.argv[1])
there = get_datahandler(folder, "feather").ohlcv_get_available_data(folder, TradingMode.SPOT)
frame = load_pair_history("BTC/USDT", "1h", folder, fill_up_missing=False, drop_incomplete=False, data_format="feather")
found = {
    "pairs": sorted(f"{pair} {timeframe}" for pair, timeframe, _ in there), "types": [str(kind) for kind in frame.dtypes],
    "times": [stamp.isoformat() for stamp in frame["date"]],
    **{name: frame[name].tolist() for name in ("open", "high", "low", "close", "volume")},
}
"""
QLIB = """
import qlib
from qlib.data import D

qlib.init(provider_uri={"day": sys.argv[1], "60min": sys.argv[1]}, region="us", kernels=1)
days = D.features(["AAPL"], ["$close", "$factor", "$close / $factor"], freq="day").loc["AAPL"]
hours = D.features(["BTC"], ["$close"], freq="60min").loc["BTC"]
found = {
    "symbols": sorted(D.list_instruments(D.instruments("all"), freq="day")),
    "days": [f"{day:%Y-%m-%d}" for day in days.index], **{name: days[name].tolist() for name in days},
    "hours": [stamp.isoformat() for stamp in hours.index], "closes": hours["$close"].tolist(),
}
"""


def read_by(library: str, script: str, folder: Path) -> Any:
    """What the script finds in the folder, run where the library is; skips where it is nowhere."""
    variable = f"{library.upper()}_PYTHON"
    python = os.environ.get(variable) or (sys.executable if find_spec(library) else None)
    if python is None:
        pytest.skip(f"{library} is not installed: pip install it into a virtual environment and set {variable}")
    # qlib logs on stdout: the answer goes to a file.
    answer = folder.parent / "found.json"
    whole = f"import json, sys\nfrom pathlib import Path\n{script}\nPath(sys.argv[2]).write_text(json.dumps(found))"
    command = [python, "-c", whole, str(folder), str(answer)]
    result = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(answer.read_text())


def test_freqtrade_loads_its_feather_files(built: Warehouse, tmp_path: Path) -> None:
    exported(built, tmp_path / "data", "BTC", timeframes=("1h", "1d"), format="freqtrade")
    found = read_by("freqtrade", FREQTRADE, tmp_path / "data")
    assert found["pairs"] == ["BTC/USDT 1d", "BTC/USDT 1h"]
    expected = bars("BTC", "1h", url=built.database.dsn)
    assert found["times"] == [stamp.isoformat() for stamp in expected.index]
    for name in expected:
        assert found[name] == expected[name].tolist(), name
    assert found["types"] == ["datetime64[ms, UTC]", *["float64"] * 5]


def test_qlib_loads_its_binary_files(built: Warehouse, tmp_path: Path) -> None:
    exported(built, tmp_path / "data", "AAPL", "BTC", timeframes=("1d", "1h"), format="qlib", adjusted="splits")
    found = read_by("qlib", QLIB, tmp_path / "data")
    assert found["symbols"] == ["AAPL", "BTC"]
    closes = dict(zip(found["days"], zip(found["$close"], found["$factor"], strict=True), strict=True))
    for bar in SESSIONS:
        is_old = bar.timestamp.date() < EX_DATE
        close, factor = closes[f"{bar.timestamp:%Y-%m-%d}"]
        assert close == numpy.float32(bar.close / 2 if is_old else bar.close)
        assert factor == (0.5 if is_old else 1)
    expected = bars("BTC", "1h", columns="close", url=built.database.dsn)["close"]
    known = dict(zip(found["hours"], found["closes"], strict=True))
    assert [known[stamp.tz_localize(None).isoformat()] for stamp in expected.index] == expected.astype(
        "float32"
    ).tolist()
