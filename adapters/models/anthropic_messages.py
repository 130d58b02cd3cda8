"""An answer's request in the words of Anthropic's messages."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from anthropic.types import (
    MessageParam,
    RedactedThinkingBlockParam,
    TextBlockParam,
    ThinkingBlockParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)

from adapters.models.call_ids import fitting
from domain.conversation import Role
from domain.ports import ModelStep, ToolCall, ToolResult, ToolSpec
from domain.prompts import RenderedPrompt

# A conversation begins with its user; a window of the history may begin with an answer.
_OPENING = "(What was said before is left out.)"
_THOUGHTS = "anthropic:"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Thoughts = list[ThinkingBlockParam | RedactedThinkingBlockParam]
"""Blocks of thinking, which a model wants back unchanged with the calls that followed them."""


def messages_of(prompt: RenderedPrompt) -> list[MessageParam]:
    """Write the turns of the prompt, then the steps after the question."""
    turns = [(role, text.rstrip()) for role, text in prompt.turns if text.strip()]
    messages: list[MessageParam] = []
    if turns and turns[0][0] is not Role.USER:
        messages.append({"role": "user", "content": _OPENING})
    messages.extend(_turn(role, text) for role, text in turns)
    messages.extend(message for step in prompt.steps for message in _step(step))
    return messages


def tools_of(specs: Sequence[ToolSpec]) -> list[ToolParam]:
    """Declare the tools."""
    return [
        {"name": spec.name, "description": spec.description, "input_schema": dict(spec.parameters)} for spec in specs
    ]


def signature_of(thoughts: Iterable[dict[str, str]]) -> str | None:
    """Keep the thoughts before a call with it; None where there were none."""
    kept = list(thoughts)
    return f"{_THOUGHTS}{json.dumps(kept)}" if kept else None


def _turn(role: Role, text: str) -> MessageParam:
    if role is Role.USER:
        return {"role": "user", "content": text}
    return {"role": "assistant", "content": text}


def _step(step: ModelStep) -> Iterator[MessageParam]:
    thoughts = next((_thoughts(call.signature) for call in step.calls if call.signature), [])
    text: list[TextBlockParam] = [{"type": "text", "text": step.text.rstrip()}] if step.text.strip() else []
    asked = [*thoughts, *text, *map(_call, step.calls)]
    if asked:
        yield {"role": "assistant", "content": asked}
    if step.results:
        yield {"role": "user", "content": [_result(result) for result in step.results]}


def _thoughts(signature: str | None) -> Thoughts:
    if not signature or not signature.startswith(_THOUGHTS):  # of another provider, which made the step before
        return []
    thoughts: Thoughts = json.loads(signature.removeprefix(_THOUGHTS))
    return thoughts


def _call(call: ToolCall) -> ToolUseBlockParam:
    return {"type": "tool_use", "id": fitting(call.id, _ID), "name": call.name, "input": dict(call.arguments)}


def _result(result: ToolResult) -> ToolResultBlockParam:
    # An empty text is no content to Anthropic.
    content = result.content if result.content.strip() else "(nothing)"
    call_id = fitting(result.call_id, _ID)
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": result.failed}
