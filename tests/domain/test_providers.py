import pytest

from domain.errors import Kind, ProviderNotConfigured
from domain.providers import provider_of, split


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("gemini/gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("gpt-5.4-mini", ("openai", "gpt-5.4-mini")),
        ("openai/meta-llama/Llama-3.3-70B", ("openai", "meta-llama/Llama-3.3-70B")),
        ("openai/openai/gpt-oss-20b", ("openai", "openai/gpt-oss-20b")),
        ("local/extractive", ("local", "extractive")),
    ],
)
def test_a_name_tells_provider_and_model(model: str, parts: tuple[str, str]) -> None:
    assert split(model, default="openai") == parts


@pytest.mark.parametrize("model", ["meta-llama/Llama-3.3-70B", "mistral/large", "openai/", "/gpt"])
def test_a_provider_that_nobody_knows_is_told_with_those_that_are(model: str) -> None:
    with pytest.raises(ProviderNotConfigured, match="local, gemini, openai, anthropic") as caught:
        split(model, default="openai")
    assert (caught.value.code, caught.value.kind) == ("provider_not_configured", Kind.INVALID_REQUEST)
    assert not caught.value.retryable


def test_a_provider_without_a_key_is_told_with_its_setting() -> None:
    with pytest.raises(ProviderNotConfigured, match="CHATSPHERE_ANTHROPIC_API_KEY"):
        provider_of("anthropic/claude", default="local", configured={"local", "gemini"})
    assert provider_of("anthropic/claude", default="local", configured={"local", "anthropic"}) == "anthropic"
