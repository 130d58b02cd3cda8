"""Settings, read once in the mains. Every field is an environment variable `CHATSPHERE_<NAME>`."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_DEVELOPMENT_SECRET = "development-only-secret-do-not-deploy"  # noqa: S105  (refused outside development)


class Settings(BaseSettings):
    """Everything a deployment chooses. The embedded stack of `make up` fills what it starts itself."""

    model_config = SettingsConfigDict(
        env_prefix="CHATSPHERE_", env_file=".env", extra="ignore", hide_input_in_errors=True
    )

    environment: Literal["development", "production"] = "development"
    secret_key: SecretStr = SecretStr(_DEVELOPMENT_SECRET)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "json"

    database_url: str = "postgresql+asyncpg://postgres@127.0.0.1:54320/chatsphere"
    database_pool: int = Field(default=10, ge=1, le=100)
    blob_dir: Path = Path(".chatsphere/blobs")

    # Temporal's address, namespace, API key and TLS come from TEMPORAL_* (temporalio.envconfig).
    temporal_ui_url: str = "http://127.0.0.1:8233"

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    max_upload_bytes: int = Field(default=50 << 20, ge=1)
    fetch_seconds: float = Field(default=30.0, gt=0, le=300)
    fetch_allowed_networks: str = ""
    crawl_delay_seconds: float = Field(default=0.5, ge=0, le=60)  # between two requests to a site
    import_max_bytes: int = Field(default=2 << 30, ge=1)  # all files together, and what an archive unpacks to
    # Their rows are written by one statement, which takes 32,767 values at most.
    import_max_files: int = Field(default=10_000, ge=1, le=25_000)
    access_token_lifetime: timedelta = timedelta(minutes=30)
    refresh_token_lifetime: timedelta = timedelta(days=30)

    provider: Literal["local", "gemini", "openai", "anthropic"] = "local"
    embedding_provider: Literal["local", "gemini", "openai"] | None = None  # none: the provider, or local
    embedding_width: int = Field(default=768, ge=384, le=4000)
    gemini_api_key: SecretStr | None = None
    gemini_base_url: str | None = None
    gemini_embedding_model: str = "gemini-embedding-001"
    gemini_generation_model: str = "gemini-2.5-flash"
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None  # of any server that speaks OpenAI's API
    openai_embedding_model: str = "text-embedding-3-small"
    openai_embedding_dimensions: bool = True  # the server takes a width to answer in
    openai_generation_model: str = "gpt-5.4-mini"
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    anthropic_generation_model: str = "claude-haiku-5-5"
    model_timeout: timedelta = timedelta(seconds=60)

    # Of all processes together, for each model; none: unlimited until the provider objects.
    embedding_requests_per_minute: float | None = Field(default=None, ge=2)
    embedding_tokens_per_minute: float | None = Field(default=None, ge=1000)
    generation_requests_per_minute: float | None = Field(default=None, ge=2)
    generation_tokens_per_minute: float | None = Field(default=None, ge=1000)
    # `auto`: the provider where it reads images, else Tesseract where it is installed, else nothing.
    ocr: Literal["auto", "provider", "tesseract", "off"] = "auto"
    ocr_languages: str = Field(default="eng", pattern=r"^[A-Za-z][\w/-]*(\+[A-Za-z][\w/-]*)*$")  # of Tesseract
    ocr_seconds: int = Field(default=120, ge=1)  # for one page, by Tesseract

    owner_running_documents: int | None = Field(default=4, ge=1)  # of one owner at once; none: all of them

    worker_queues: str = "chat,ingest-cpu,models,web"
    worker_cpu_slots: int = Field(default=2, ge=1)
    worker_model_slots: int = Field(default=256, ge=1)  # a stream takes one for as long as it is written
    worker_web_slots: int = Field(default=8, ge=1)  # crawls that fetch at a time
    worker_database_slots: int = Field(default=64, ge=1)
    graceful_shutdown: timedelta = timedelta(seconds=10)

    extraction_memory_bytes: int = 1 << 30
    extraction_cpu_seconds: int = 300
    extraction_wall_seconds: float = 600.0
    extraction_pages: int = 20_000
    extraction_output_bytes: int = 256 << 20
    extraction_archive_entries: int = 20_000
    extraction_archive_bytes: int = 1 << 30
    extraction_archive_ratio: int = 200

    chunk_characters: int = Field(default=1000, ge=100, le=4000)
    chunk_overlap: int = Field(default=150, ge=0, le=1000)

    index_chunks: int = Field(default=5_000, ge=1)  # from which on a bot has an index
    index_memory_bytes: int = Field(default=256 << 20, ge=1 << 20)  # that a build may take; beyond, it is slower

    housekeeping_interval: timedelta = timedelta(seconds=15)
    housekeeping_grace: timedelta = timedelta(seconds=15)

    @model_validator(mode="after")
    def _refuse_defaults_in_production(self) -> Self:
        secret = self.secret_key.get_secret_value()
        if self.environment == "production" and (secret == _DEVELOPMENT_SECRET or len(secret) < 32):
            raise ValueError("CHATSPHERE_SECRET_KEY must be set to 32 random characters or more outside development.")
        return self

    @property
    def providers(self) -> frozenset[str]:
        """The providers that bots may choose: `local`, and each that has a key (or, of one's own, an address)."""
        has = {
            "local": True,
            "gemini": self.gemini_api_key,
            "openai": self.openai_api_key or self.openai_base_url,
            "anthropic": self.anthropic_api_key,
        }
        return frozenset(name for name, given in has.items() if given)

    @property
    def generation_models(self) -> dict[str, str]:
        """What answers by default, by provider, of those that are called over the network and are set up."""
        models = {
            "gemini": self.gemini_generation_model,
            "openai": self.openai_generation_model,
            "anthropic": self.anthropic_generation_model,
        }
        return {provider: name for provider, name in models.items() if provider in self.providers}

    @property
    def embeds_with(self) -> Literal["local", "gemini", "openai"]:
        """The provider that embeds. Anthropic does not, so `local` does where nothing else is chosen."""
        if self.embedding_provider is not None:
            return self.embedding_provider
        return "local" if self.provider == "anthropic" else self.provider

    @model_validator(mode="after")
    def _need_a_key(self) -> Self:
        for setting, provider in (("PROVIDER", self.provider), ("EMBEDDING_PROVIDER", self.embeds_with)):
            if provider not in self.providers:
                raise ValueError(f"CHATSPHERE_{setting}={provider} needs CHATSPHERE_{provider.upper()}_API_KEY.")
        return self

    @field_validator("fetch_allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in filter(None, text.replace(" ", "").split(",")):
            ip_network(part)  # raises ValueError, which says what is wrong
        return text

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The private networks that pages may be fetched from."""
        return tuple(ip_network(part) for part in filter(None, self.fetch_allowed_networks.replace(" ", "").split(",")))

    @model_validator(mode="after")
    def _need_a_provider_that_reads_images(self) -> Self:
        if self.ocr == "provider" and self.gemini_api_key is None:
            raise ValueError("CHATSPHERE_OCR=provider needs CHATSPHERE_GEMINI_API_KEY; only Gemini reads images here.")
        return self

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Self:
        if self.chunk_overlap * 2 > self.chunk_characters:
            raise ValueError("CHATSPHERE_CHUNK_OVERLAP must be at most half of CHATSPHERE_CHUNK_CHARACTERS.")
        return self
