"""The deployment that this machine belongs to: the environment's settings, or those of `chatsphere up`."""

import os
from pathlib import Path

from adapters.embedded.settings import StackSettings
from adapters.embedded.stack import plan
from adapters.embedded.state import StateFolder

_ROOT = Path(__file__).parents[1]


def use_embedded_stack() -> bool:
    """Set what `chatsphere up` tells its own processes, where it has run here and nothing else is chosen."""
    if "CHATSPHERE_DATABASE_URL" in os.environ or "TEMPORAL_ADDRESS" in os.environ:
        return False
    settings = StackSettings()
    state = StateFolder(settings.state_dir if settings.state_dir.is_absolute() else _ROOT / settings.state_dir)
    if not (state.path / "postgres_password").exists():
        return False
    os.environ.update(plan(settings, state).api.environment)
    return True
