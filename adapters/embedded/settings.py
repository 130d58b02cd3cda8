"""What `make up` lets a person choose, beside the settings of the services themselves."""

from pathlib import Path

from pydantic import Field, ValidationError

from adapters.settings import Settings


class StackSettings(Settings):
    """Every port and the folder that all state lies in; each is `CHATSPHERE_<NAME>`."""

    state_dir: Path = Path(".chatsphere")
    postgres_port: int = Field(default=54320, ge=1, le=65535)
    temporal_port: int = Field(default=7233, ge=1, le=65535)
    temporal_ui_port: int = Field(default=8233, ge=1, le=65535)
    api_port: int = Field(default=8000, ge=1, le=65535)
    ready_seconds: float = Field(default=120.0, gt=0)  # how long a start may take before `make up` gives up

    @property
    def ports(self) -> dict[str, int]:
        """Each port under the name of its environment variable."""
        names = ("postgres_port", "temporal_port", "temporal_ui_port", "api_port")
        return {f"CHATSPHERE_{name.upper()}": getattr(self, name) for name in names}

    @property
    def api_url(self) -> str:
        host = "127.0.0.1" if self.api_host in ("0.0.0.0", "::") else self.api_host  # noqa: S104  (compared, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.api_port}"


def sentences(error: ValidationError) -> list[str]:
    """Say for a person what is wrong with the settings, without the values: they may be secrets."""
    found = []
    for part in error.errors(include_input=False, include_url=False):
        name = "_".join(str(step) for step in part["loc"]).upper()
        message = part["msg"].removeprefix("Value error, ")
        found.append(f"CHATSPHERE_{name}: {message}" if name else message)
    return found
