"""Every setting of the pipeline; the only module that reads the environment.

Data flow: `.env` and the environment -> `Settings` (the environment wins). `load()` names all bad or missing settings
in one `ConfigurationError`; values of secrets never appear in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AnyUrl, Field, SecretStr, UrlConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from extract.core import sources
from extract.core.project import ASSETS as ASSETS
from extract.core.project import project_directory as project_directory

# Of a database, in bytes of UTF-8.
LONGEST_NAME = 63

HttpUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["http", "https"])]
StreamUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["ws", "wss"])]
Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(ge=0, le=1)]


class ConfigurationError(Exception):
    """The configuration cannot work (exit code 78); the message names everything that is wrong with it."""


class Settings(BaseSettings):
    """The settings of docs/reference/contract.md, with their defaults."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", validate_default=True)

    pghost: str | None = None
    pgport: Port = 5432
    pguser: str = "postgres"
    pgpassword: SecretStr | None = None
    pgdatabase: str = "market"
    pgoptions: str = ""

    polygon_api_key: SecretStr | None = None
    polygon_required: bool = False
    binance_api_key: SecretStr | None = None
    binance_api_secret: SecretStr | None = None

    polygon_base_url: HttpUrl = AnyUrl("https://api.polygon.io")
    binance_spot_base_url: HttpUrl = AnyUrl("https://api.binance.com")
    binance_data_api_base_url: HttpUrl = AnyUrl("https://data-api.binance.vision")
    binance_futures_base_url: HttpUrl = AnyUrl("https://fapi.binance.com")
    binance_archive_base_url: HttpUrl = AnyUrl("https://data.binance.vision")
    binance_stream_url: StreamUrl = AnyUrl("wss://fstream.binance.com")
    yahoo_base_url: HttpUrl | None = None
    coinmetrics_base_url: HttpUrl = AnyUrl("https://community-api.coinmetrics.io")

    yahoo_timeout: float = Field(10, gt=0, description="seconds")
    coinmetrics_enabled: bool = False
    fallback_source_priority: Annotated[tuple[str, ...], NoDecode] = Field(default_factory=sources.with_bars)
    polygon_requests_per_minute: int = Field(5, ge=0, description="0 = unlimited")
    data_enrichment_enabled: bool = True
    enrichment_schedule_hour: int = Field(1, ge=0, le=23, description="UTC")
    enrichment_schedule_minute: int = Field(30, ge=0, le=59)
    feature_computation_workers: int = Field(4, ge=1)
    feature_computation_shard_bars: int = Field(50_000, ge=1)
    batch_size_market_data: int = Field(500, ge=1)
    min_quality_score: Share = 0.85
    min_data_completeness: Share = 0.95
    validate_on_insert: bool = True
    revision_lookback: int | None = Field(None, ge=0, description="days; unset = crypto 2 days, stocks 5 sessions")
    api_token: SecretStr | None = None
    alert_urls: SecretStr | None = Field(None, description="Apprise URLs, separated by blanks")
    healthcheck_url: SecretStr | None = Field(None, description="pinged at /start, at the end, or at /fail")
    warehouse_now: datetime | None = None
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line")

    @field_validator("fallback_source_priority", mode="before")
    @classmethod
    def _split_priority(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        known = sources.with_bars()
        if not names or set(names) - set(known) or len(set(names)) < len(names):
            raise ValueError(f"expected some of {', '.join(known)}, each once, separated by commas")
        return names

    @field_validator("pgdatabase")
    @classmethod
    def _that_dbt_can_write(cls, value: str) -> str:
        """Postgres would take any name, but dbt writes it between quotes as it is, and Postgres itself cuts what is too
        long: a database of the cut name would be made once, and looked for in vain ever after."""
        if set(value) & set("'\""):
            raise ValueError("dbt cannot work in a database with quotes in its name: choose another name")
        if len(value.encode()) > LONGEST_NAME:
            raise ValueError(f"longer than the {LONGEST_NAME} bytes that a name may have in Postgres")
        return value

    @field_validator("warehouse_now")
    @classmethod
    def _as_utc(cls, value: datetime | None) -> datetime | None:
        """A time without an offset is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @property
    def sources(self) -> tuple[str, ...]:
        """All that may be asked, those without bars last."""
        listed = sources.listed().values()
        asked = [source for source in listed if source.enabled_by is None or getattr(self, source.enabled_by)]
        return tuple(source.name for source in sorted(asked, key=lambda source: not source.gives_bars))

    def secrets(self) -> list[str]:
        """The secret values, for redaction only."""
        values = [value.get_secret_value() for _, value in self._all() if isinstance(value, SecretStr)]
        # Each URL of a list may turn up alone, so the parts are secret as well as the whole.
        return [part for value in values if value for part in dict.fromkeys((value, *value.split()))]

    def random_secrets(self) -> list[str]:
        """The keys that sources are sent or that are as random as those, for redaction of parts of them."""
        endings = ("_api_key", "_api_secret", "api_token")
        named = [value for name, value in self._all() if name.endswith(endings) and isinstance(value, SecretStr)]
        return [key.get_secret_value() for key in named if key.get_secret_value()]

    def _all(self) -> Iterator[tuple[str, Any]]:
        """Every setting that was read, those in the providers' folders included."""
        for one in (self, *_of_providers.values()):
            yield from one.__dict__.items()


class ProviderSettings(BaseSettings):
    """Settings that a provider declares in its own folder, named `<provider>_...`; read by `of()`."""

    model_config = Settings.model_config


_Own = TypeVar("_Own", bound=ProviderSettings)
_of_providers: dict[type[ProviderSettings], ProviderSettings] = {}


def of(kind: type[_Own]) -> _Own:
    """A provider's own settings, read once. Raises ConfigurationError that names all bad or missing ones."""
    if kind not in _of_providers:
        with _named_problems():
            _of_providers[kind] = kind()
    found = _of_providers[kind]
    assert isinstance(found, kind)
    return found


@contextmanager
def _named_problems() -> Iterator[None]:
    """What is wrong with settings that are being read, as a ConfigurationError."""
    try:
        yield
    except ValidationError as error:
        problems = [f"{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors(include_input=False)]
        raise ConfigurationError(f"bad settings: {'; '.join(problems)} (see .env.example)") from None
    except (OSError, UnicodeDecodeError) as error:
        # Of the file: another encoding (PowerShell's `>` writes UTF-16), or no right to read it. Its bytes may be secret.
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(f"bad settings: {Path('.env').resolve()} cannot be read: {why}") from None


@lru_cache(maxsize=1)
def load() -> Settings:
    """Read the settings once; tests that change the environment call `load.cache_clear()`."""
    with _named_problems():
        settings = Settings()  # type: ignore[call-arg]
    if settings.polygon_required and settings.polygon_api_key is None:
        raise ConfigurationError("bad settings: POLYGON_API_KEY: missing, and POLYGON_REQUIRED=true")
    return settings
