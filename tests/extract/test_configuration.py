"""Settings, asset registry, redaction, and what the command line may import."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from extract.core import clock, settings
from extract.core.redaction import RedactingFormatter, redact
from extract.core.settings import ConfigurationError
from extract.symbols import registry, registry_file
from tests.extract.conftest import AAPL, BTC, Market, environment

HEADER = ",".join(registry.columns())


@pytest.fixture(autouse=True)
def fresh_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings.load.cache_clear()


def load_with(monkeypatch: pytest.MonkeyPatch, **values: str) -> settings.Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings.load.cache_clear()
    return settings.load()


def test_defaults_are_those_of_the_contract() -> None:
    loaded = settings.load()
    assert loaded.fallback_source_priority == ("polygon", "binance", "yahoo")
    assert (loaded.polygon_requests_per_minute, loaded.yahoo_timeout, loaded.batch_size_market_data) == (5, 10, 500)
    assert (loaded.min_quality_score, loaded.min_data_completeness, loaded.validate_on_insert) == (0.85, 0.95, True)
    assert (loaded.enrichment_schedule_hour, loaded.enrichment_schedule_minute) == (1, 30)
    assert loaded.pghost is None and loaded.coinmetrics_enabled is False and loaded.warehouse_now is None


def test_all_bad_settings_are_named_at_once_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_with(
            monkeypatch,
            PGPORT="x",
            POLYGON_BASE_URL="ftp://host",
            FALLBACK_SOURCE_PRIORITY="polygon,bloomberg",
            WAREHOUSE_NOW="noon",
            MIN_QUALITY_SCORE="2",
            POLYGON_API_KEY="secret-key",
        )
    text = str(caught.value)
    for name in ("PGPORT", "POLYGON_BASE_URL", "FALLBACK_SOURCE_PRIORITY", "WAREHOUSE_NOW", "MIN_QUALITY_SCORE"):
        assert f"{name}: " in text
    assert "secret-key" not in text


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("YAHOO_TIMEOUT=3\nPOLYGON_REQUESTS_PER_MINUTE=7\nUNKNOWN=1\n")
    loaded = load_with(monkeypatch, YAHOO_TIMEOUT="4")
    assert (loaded.yahoo_timeout, loaded.polygon_requests_per_minute) == (4, 7)


def test_a_file_that_is_no_text_is_one_line_and_shows_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As PowerShell's `echo POLYGON_API_KEY=… > .env` writes it: every command ended in a traceback."""
    (tmp_path / ".env").write_bytes("POLYGON_API_KEY=secret-key".encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read: it is no UTF-8 text") as caught:
        load_with(monkeypatch)
    assert "secret" not in str(caught.value) and caught.value.__suppress_context__


def test_a_required_key_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="POLYGON_API_KEY: missing"):
        load_with(monkeypatch, POLYGON_REQUIRED="true")


def test_warehouse_now_stands_for_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    load_with(monkeypatch, WAREHOUSE_NOW="2024-03-01T12:00:00")
    assert clock.now() == datetime(2024, 3, 1, 12, tzinfo=UTC)
    load_with(monkeypatch, WAREHOUSE_NOW="2024-03-01T12:00:00-05:00")
    assert clock.now() == datetime(2024, 3, 1, 17, tzinfo=UTC)


def test_secrets_are_taken_out_of_text_and_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    load_with(monkeypatch, POLYGON_API_KEY="key-1234", PGPASSWORD="pass-1234", BINANCE_API_SECRET="sign-1234")
    text = redact("postgresql://me:other@host/db?apiKey=zzz key-1234 pass-1234 sign-1234 https://h/p?token=abc&x=1")
    assert text == "postgresql://me:***@host/db?apiKey=*** *** *** *** https://h/p?token=***&x=1"
    try:
        raise ValueError("refused key-1234")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed with %s", ("key-1234",), sys.exc_info())
    assert "key-1234" not in RedactingFormatter().format(record)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines, ""]))
    return path


def test_the_registry_of_the_repository_is_valid() -> None:
    assets = registry.load(Path(__file__).parents[2] / registry_file.EXAMPLE)
    assert {"AAPL", "BTC"} <= {asset.symbol for asset in assets}


def test_a_registry_row_is_typed(tmp_path: Path) -> None:
    line = "META,stock,5m 1d,FB,,,META,,XNYS,2012-05-18,2022-06-08,yahoo polygon,true"
    (asset,) = registry.load(write(tmp_path / "assets.csv", line))
    assert asset.timeframes == ("5m", "1d") and asset.source_priority == ("yahoo", "polygon")
    assert asset.names.get("polygon") == "FB" and asset.names.get("binance") is None
    assert asset.is_active(date(2012, 5, 18)) and asset.is_active(date(2022, 6, 8))
    assert not asset.is_active(date(2012, 5, 17)) and not asset.is_active(date(2022, 6, 9))
    start, end = asset.active_window()
    assert (start, end) == (datetime(2012, 5, 18, 4, tzinfo=UTC), datetime(2022, 6, 9, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["A,stock,7m,A,,,A,,XNYS,,,,true"], "7m is none of"),
        (["A,bond,1d,A,,,A,,XNYS,,,,true"], "asset_class 'bond'"),
        (["A,stock,1d,A,,,A,,XNYS,,,,yes"], "neither true nor false"),
        (["A,stock,1d,A,,,A,,XNYS,2024-02-30,,,true"], "not a date"),
        (["A,stock,1d,A,,,A,,XNYS,2024-02-02,2024-02-01,,true"], "before active_from"),
        (["A,stock,1d,A,,,A,,XNYS,,,nasdaq,true"], "source_priority: nasdaq"),
        (["A,stock,,A,,,A,,XNYS,,,,true"], "timeframes is empty"),
        (["A,stock,1d"], "expected 13 cells"),
        (["A,stock,1d,A,,,A,,XNYS,,2020-01-01,,true", "A,stock,1d,B,,,A,,XNYS,2020-01-01,,,true"], "overlap in time"),
    ],
)
def test_faulty_registry_rows_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        registry.load(write(tmp_path / "assets.csv", *lines))


def coin(spot: str, futures: str, polygon: str = "", yahoo: str = "", sources: str = "") -> str:
    return f"COIN,crypto,1h,{polygon},{spot},{futures},{yahoo},,24/7,,,{sources},true"


@pytest.mark.parametrize(
    "line",
    [
        coin("PEPEUSDT", "1000PEPEUSDT", "X:PEPEUSD", "PEPE24478-USD"),
        coin("PEPEUSDC", "1000PEPEUSDT"),
        coin("LADYSUSDT", "10000LADYSUSDT"),
        coin("BABYDOGEUSDT", "1MBABYDOGEUSDT"),
        coin("1000SATSUSDT", "1000SATSUSDT"),
        coin("1000CATUSDT", "CATUSDT"),
        coin("1INCHUSDT", "1INCHUSDT"),
        coin("4USDT", "4USDT"),
        coin("LUNAUSDT", "LUNA2USDT"),
        coin("1000SATSUSDT", ""),
        coin("", "1000SHIBUSDT"),
        coin("", "1000SATSUSDT", yahoo="1000SATS28194-USD"),
        coin("", "1000SHIBUSDT", "X:SHIBUSD", sources="binance"),
        coin("", "BTCUSDT", "X:BTCUSD", "BTC-USD"),
    ],
)
def test_units_that_follow_from_the_names_are_taken(tmp_path: Path, line: str) -> None:
    """int_contracts multiplies them out: its unit test has the same names."""
    assert len(registry.load(write(tmp_path / "assets.csv", line))) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (coin("MOGCOINUSDT", "1000000MOGUSDT"), "not of one coin: name the spot market of the contract's coin"),
        (coin("1000CATUSDT", "1MCATUSDT"), "look like contracts on many coins"),
        # No number that Binance has used: it must not count as one coin.
        (coin("CATUSDT", "100CATUSDT"), "look like contracts on many coins"),
        (coin("", "1000PEPEUSDT", "X:PEPEUSD"), "those of polygon 'X:PEPEUSD' of one: name the spot market in binance"),
        (coin("", "1000PEPEUSDT", yahoo="PEPE24478-USD", sources="binance yahoo"), "or leave yahoo empty"),
    ],
)
def test_units_that_nobody_can_tell_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        registry.load(write(tmp_path / "assets.csv", line))


def test_every_faulty_row_is_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "assets.csv", "A,stock,7m,A,,,A,,,,,,true", "B,bond,1d,A,,,A,,,,,,true")
    with pytest.raises(ConfigurationError, match=r"(?s)line 2 \(A\).*line 3 \(B\)"):
        registry.load(path)


def test_a_rename_is_two_rows_that_do_not_overlap(tmp_path: Path) -> None:
    path = write(
        tmp_path / "assets.csv",
        "META,stock,1d,FB,,,META,,XNYS,,2022-06-08,,true",
        "META,stock,1d,META,,,META,,XNYS,2022-06-09,,,true",
    )
    assert [asset.names.get("polygon") for asset in registry.select(registry.load(path), ["META"])] == ["FB", "META"]


def test_a_configuration_error_is_exit_code_78(market: Market) -> None:
    market.set(PGPORT="none")
    assert "PGPORT" in market.run("extract", expect=78)
    market.set(PGPORT=market.database.environment["PGPORT"])
    market.assets(BTC, {**AAPL, "timeframes": "9d"})
    assert "line 3 (AAPL)" in market.run("extract", expect=78)


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("dlt", "dbt", "pandas", "pyarrow", "yfinance")
    code = f"import sys, scripts.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert result.stdout.strip() == "[]", result.stderr


def test_extract_never_imports_dbt_and_reads_the_environment_in_one_module() -> None:
    folder = Path(settings.__file__).parents[1]
    for path in folder.rglob("*.py"):
        text = path.read_text()
        assert "import dbt" not in text and "from dbt" not in text, path
        # The server's programs get their environment, and PG_BIN names them, before there are settings.
        if path.name not in ("settings.py", "embedded_server.py"):
            assert "os.environ" not in text and "getenv" not in text, path


def test_the_password_may_lie_in_a_password_file(market: Market, tmp_path: Path) -> None:
    server = market.database.server
    market.set(PGPASSWORD=None, PGPASSFILE=str(server.passfile))
    market.run("extract", "--start", "2013-02-28", "--end", "2013-02-28")
    assert market.rows("binance", "status = 'ok'")
