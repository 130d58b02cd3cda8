"""Model names: `provider/model`, or a model's name alone, which is of the deployment's own provider."""

from collections.abc import Collection, Sequence

from domain.errors import ProviderNotConfigured

LOCAL = "local"
PROVIDERS = (LOCAL, "gemini", "openai", "anthropic")


def split(model: str, *, default: str, param: str | None = None) -> tuple[str, str]:
    """Tell provider and model. Raises `ProviderNotConfigured` for a provider that nobody knows."""
    provider, slash, name = model.partition("/")
    if not slash:
        return default, model
    if provider not in PROVIDERS or not name:
        raise ProviderNotConfigured(
            f"There is no model provider {provider!r}. Write the model as provider/model, with one of "
            f"{', '.join(PROVIDERS)}; a name that has a slash itself needs its provider in front.",
            param=param,
        )
    return provider, name


def provider_of(model: str, *, default: str, configured: Collection[str], param: str | None = None) -> str:
    """Tell whose model it is. Raises `ProviderNotConfigured`, about `param`, where this deployment does not have it."""
    provider, _ = split(model, default=default, param=param)
    if provider not in configured:
        raise ProviderNotConfigured(
            f"This deployment has no key for the model provider {provider}. Choose a model of "
            f"{', '.join(sorted(configured))}, or have CHATSPHERE_{provider.upper()}_API_KEY set.",
            param=param,
        )
    return provider


def in_order(model: str | None, fallbacks: Sequence[str], *, default: str) -> list[str]:
    """Name provider and model of all that may answer for a bot, once each; `default` is the deployment's, in full."""
    provider = default.partition("/")[0]
    names = [default if model is None else model, *fallbacks]
    return list(dict.fromkeys(name if "/" in name else f"{provider}/{name}" for name in names))
