"""Gemini reads page images: one call a page, transcribed as Markdown."""

import asyncio
from datetime import timedelta
from pathlib import Path

from google import genai
from google.genai import types

from adapters.models.gemini_errors import blocked, declined, gemini_errors
from adapters.models.spans import model_span, record_usage
from domain.errors import ProviderError, UnreadablePage
from domain.ports import RecognizedPage
from domain.recognition import INSTRUCTION, transcript

_PROVIDER = "gcp.gemini"
_SETTING = "CHATSPHERE_GEMINI_GENERATION_MODEL"
_PAGES_AT_ONCE = 4
_DOTS_PER_INCH = 200  # A4 has 1654 x 2339 then: 8 of the tiles that Gemini looks at
_TOKENS = 8192  # three times what the densest page holds; a model that repeats itself ends here


class GeminiRecognizer:
    """Transcribes pages with the model that also answers."""

    def __init__(self, client: genai.Client, model: str, *, timeout: timedelta) -> None:
        self._client = client
        self._name = model
        self._timeout = timeout.total_seconds()

    @property
    def model(self) -> str:
        return self._name

    @property
    def is_provider(self) -> bool:
        return True

    @property
    def pages_at_once(self) -> int:
        return _PAGES_AT_ONCE

    @property
    def dots_per_inch(self) -> int:
        return _DOTS_PER_INCH

    async def recognize(self, image: Path) -> RecognizedPage:
        """Read one JPEG. A page that the model declines raises `SafetyBlocked`."""
        data = await asyncio.to_thread(image.read_bytes)
        with model_span("chat", provider=_PROVIDER, model=self._name) as span:
            response = await self._call(data)
            usage = response.usage_metadata
            read = (usage and usage.prompt_token_count) or 0
            written = ((usage and usage.candidates_token_count) or 0) + ((usage and usage.thoughts_token_count) or 0)
            record_usage(span, input_tokens=read, output_tokens=written)
            return RecognizedPage(self._text(response), read + written)

    async def _call(self, data: bytes) -> types.GenerateContentResponse:
        contents: list[types.ContentUnion] = [
            types.Content(role="user", parts=[types.Part.from_bytes(data=data, mime_type="image/jpeg")])
        ]
        # Without thoughts, as for answers: they cost time and count against the tokens of the text.
        thinking = types.ThinkingConfig(thinking_budget=0) if self._name.startswith("gemini-2.5-flash") else None
        config = types.GenerateContentConfig(
            system_instruction=INSTRUCTION,
            temperature=0.0,
            max_output_tokens=_TOKENS,
            thinking_config=thinking,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        with gemini_errors(model=self._name, setting=_SETTING):
            async with asyncio.timeout(self._timeout):
                return await self._client.aio.models.generate_content(
                    model=self._name, contents=contents, config=config
                )

    def _text(self, response: types.GenerateContentResponse) -> str:
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None:
            raise blocked(response.prompt_feedback.block_reason.value, model=self._name)
        if not response.candidates:
            raise ProviderError(f"Gemini's answer was empty ({self._name}).")
        candidate = response.candidates[0]
        finish = candidate.finish_reason.value if candidate.finish_reason is not None else None
        if finish == "MAX_TOKENS":
            raise UnreadablePage("The model did not come to the end of the page within its tokens.")
        if finish != "STOP":
            raise declined(finish, model=self._name)
        parts = (candidate.content and candidate.content.parts) or ()
        return transcript("".join(part.text for part in parts if part.text and not part.thought))
