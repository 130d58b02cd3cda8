"""An answer's request in Gemini's words: turns, tools, and the steps that an agent made already."""

import base64
import binascii
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from adapters.models.gemini_frames import Part
from domain.conversation import Role
from domain.errors import ProviderMalformed
from domain.ports import AnswerRequest, ModelStep, ToolCall, ToolResult, ToolSpec
from domain.prompts import RenderedPrompt

_ALPHABET = str.maketrans("-_", "+/")
_ROLES = {Role.USER: "user", Role.ASSISTANT: "model"}


def body_of(request: AnswerRequest, prompt: RenderedPrompt, *, thinks: bool) -> dict[str, Any]:
    """Write the request. `thinks` is false for a model that is to be kept from thinking, which not every one takes."""
    generation: dict[str, Any] = {"temperature": request.temperature, "maxOutputTokens": request.max_tokens}
    if not thinks:
        generation["thinkingConfig"] = {"thinkingBudget": 0}
    tools = [_declared(spec) for spec in prompt.tools]
    return {
        "contents": _contents(prompt),
        "systemInstruction": {"parts": [{"text": prompt.system}], "role": "user"},
        "generationConfig": generation,
        **({"tools": [{"functionDeclarations": tools}]} if tools else {}),
    }


def calls_in(parts: Sequence[Part], *, model: str) -> Iterator[ToolCall]:
    """Read the calls. Gemini's may come without an id; the signature of its thoughts is kept."""
    for part in parts:
        if part.function_call is None:
            continue
        if not part.function_call.name:
            raise ProviderMalformed(f"Gemini asked for a tool without a name ({model}).")
        yield ToolCall(
            id=part.function_call.id or f"call-{secrets.token_hex(8)}",
            name=part.function_call.name,
            arguments=part.function_call.args or {},
            signature=_standard(part.thought_signature, model=model) if part.thought_signature else None,
        )


def _standard(signature: str, *, model: str) -> str:
    """Take base64 of either alphabet, padded or not; answer the standard one."""
    padded = signature.translate(_ALPHABET) + "=" * (-len(signature) % 4)
    try:
        return base64.b64encode(base64.b64decode(padded, validate=True)).decode()
    except ValueError:
        raise ProviderMalformed(f"The signature of Gemini's thoughts is no base64 ({model}).") from None


def _contents(prompt: RenderedPrompt) -> list[dict[str, Any]]:
    turns = [{"parts": [{"text": text}], "role": _ROLES[role]} for role, text in prompt.turns]
    return [*turns, *(content for step in prompt.steps for content in _step(step))]


def _declared(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "parametersJsonSchema": dict(spec.parameters)}


def _step(step: ModelStep) -> Iterator[dict[str, Any]]:
    said: list[dict[str, Any]] = [{"text": step.text}] if step.text else []
    asked = [*said, *(_call(call) for call in step.calls)]
    if asked:
        yield {"parts": asked, "role": "model"}
    names = {call.id: call.name for call in step.calls}
    given = [_result(result, names.get(result.call_id, "")) for result in step.results]
    if given:
        yield {"parts": given, "role": "user"}


def _call(call: ToolCall) -> dict[str, Any]:
    asked = {"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}}
    return asked | ({"thoughtSignature": call.signature} if _is_signature(call.signature) else {})


def _is_signature(kept: str | None) -> bool:
    """Tell a signature of Gemini's from one of another provider, which may have answered the step before."""
    try:
        return bool(kept and base64.b64decode(kept, validate=True))
    except binascii.Error:
        return False


def _result(result: ToolResult, name: str) -> dict[str, Any]:
    told = {"error" if result.failed else "result": result.content}
    return {"functionResponse": {"id": result.call_id, "name": name, "response": told}}
