"""`.env.example` names every setting with the default that is in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extract.core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LINES = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_it_names_every_setting_and_no_other() -> None:
    assert sorted(LINES) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", sorted(LINES))
def test_its_value_is_the_default(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncommenting a line changes nothing."""
    monkeypatch.chdir(tmp_path)
    untouched = Settings()  # type: ignore[call-arg]
    (tmp_path / ".env").write_text(f"{name}={LINES[name]}\n")
    assert Settings() == untouched  # type: ignore[call-arg]
