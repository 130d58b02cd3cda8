"""What `doctor` finds out about the providers."""

from adapters.settings import Settings
from cli import checks
from tests import gemini_double as g
from tests.anthropic_double import running_anthropic
from tests.openai_double import running_openai


async def test_every_provider_is_asked_for_a_word_and_one_that_refuses_its_key_is_told() -> None:
    async with running_openai() as openai, running_anthropic() as anthropic:
        openai.script("embed", g.error(500))
        anthropic.script("complete", g.error(401, "UNAUTHENTICATED"))
        settings = Settings.model_validate(
            {
                "provider": "openai", "openai_base_url": f"{openai.url}/v1", "ocr": "off",
                "anthropic_api_key": "wrong", "anthropic_base_url": anthropic.url,
            }
        )  # fmt: skip
        found = [(each.what, each.mark, each.detail) async for each in checks.models(settings)]
    assert found[1:] == [
        ("embeddings", "failed", "provider_unavailable, openai/text-embedding-3-small"),
        ("answers", "ok", "openai/gpt-5.4-mini"),
        ("answers", "failed", "provider_auth, anthropic/claude-haiku-5-5"),
    ]
