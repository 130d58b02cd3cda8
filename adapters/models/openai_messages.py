"""An answer's request in the words of OpenAI's chat completions."""

import json
import re
from collections.abc import Iterator, Sequence

from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionMessageParam,
)

from adapters.models.call_ids import fitting
from domain.conversation import Role
from domain.ports import ModelStep, ToolCall, ToolSpec
from domain.prompts import RenderedPrompt

_ID = re.compile(r".{1,40}")


def messages_of(prompt: RenderedPrompt) -> list[ChatCompletionMessageParam]:
    """Write the system's message, the turns of the prompt, then the steps after the question."""
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": prompt.system}]
    messages.extend(_turn(role, text) for role, text in prompt.turns)
    messages.extend(message for step in prompt.steps for message in _step(step))
    return messages


def tools_of(specs: Sequence[ToolSpec]) -> list[ChatCompletionFunctionToolParam]:
    """Declare the tools."""
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)},
        }
        for spec in specs
    ]


def _turn(role: Role, text: str) -> ChatCompletionMessageParam:
    if role is Role.USER:
        return {"role": "user", "content": text}
    return {"role": "assistant", "content": text}


def _step(step: ModelStep) -> Iterator[ChatCompletionMessageParam]:
    asked: ChatCompletionAssistantMessageParam = {"role": "assistant", "content": step.text or None}
    if step.calls:
        asked["tool_calls"] = [_call(call) for call in step.calls]
    if step.text or step.calls:
        yield asked
    for result in step.results:
        content = f"Error: {result.content}" if result.failed else result.content
        yield {"role": "tool", "tool_call_id": fitting(result.call_id, _ID), "content": content}


def _call(call: ToolCall) -> ChatCompletionMessageFunctionToolCallParam:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    call_id = fitting(call.id, _ID)
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
