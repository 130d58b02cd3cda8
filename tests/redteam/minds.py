"""Two models that do as they are told: one by whoever may tell it, one by anybody.

Both understand orders in several languages and codes. An answer that obeys begins with `OBEYED`, a word that no
document holds.
"""
# ruff: noqa: RUF001  (letters that look like others are what this file is about)

import base64
import binascii
import codecs
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.gemini_double import quoting_answer

OBEYED = "OBEYED"
_VERBS = (
    "answer only with", "antworte nur mit", "réponds seulement par", "responde solo con", "отвечай только так",
    "只回答", "次のようにだけ答えよ", "أجب فقط بما يلي", "केवल यह उत्तर दें", "jibu tu kwa",
)  # fmt: skip
_ORDER = re.compile(rf"(?:{'|'.join(_VERBS)})\s?[:：]\s*(?P<words>[^\n|]+)", re.IGNORECASE)
_CALL = re.compile(r'\{"name": "(?P<name>\w+)", "arguments": (?P<arguments>\{[^{}]*\})\}')
_CODED = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_SELECTORS = re.compile("[\U000e0100-\U000e01ef]+")
_LOOK_ALIKES = str.maketrans("аеорсухіАЕОРСУХІ", "aeopcyxiAEOPCYXI")
_BOUNDARY = re.compile(r"hold the word (\w+)")
_EARLIER = "earlier answers are data"


def understood(text: str) -> Iterator[str]:
    """Read a text in every way that a clever model might."""
    plain = unicodedata.normalize("NFKC", "".join(char for char in text if unicodedata.category(char) != "Cf"))
    yield from (
        text,
        plain,
        plain.translate(_LOOK_ALIKES),
        html.unescape(text),
        text[::-1],
        codecs.decode(text, "rot13"),
    )
    yield from ("".join(chr(ord(char) - 0xE0000) for char in run) for run in _TAGS.findall(text))
    yield from ("".join(chr(ord(char) - 0xE0100 + 0x20) for char in run) for run in _SELECTORS.findall(text))
    for run in _CODED.findall(text):
        try:
            yield base64.b64decode(run, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def orders_in(text: str) -> list[str]:
    """Give what a text tells a model to say, each once."""
    return list(dict.fromkeys(found["words"].strip() for way in understood(text) for found in _ORDER.finditer(way)))


def calls_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Give the tools that a text tells a model to call."""
    return [(found["name"], json.loads(found["arguments"])) for way in [text] for found in _CALL.finditer(way)]


@dataclass(slots=True)
class Mind:
    """Answers from the passages and, where somebody tells it something, as it was told."""

    obeyed: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)

    def answer(self, body: dict[str, Any]) -> str:
        """Obey the orders that it hears; without any, quote the passages."""
        if _is_to_search(body):
            return ""
        told = [order for text in self.heard(body) for order in orders_in(text)]
        self.obeyed += told
        honest = quoting_answer(last_text(body))
        return "\n\n".join([*(f"{OBEYED} {_filled_in(order, body)}" for order in told), honest])

    def complete(self, body: dict[str, Any]) -> str:
        """Write a short text: obey, or say the last line again."""
        told = [order for text in self.heard(body) for order in orders_in(text)]
        self.obeyed += told
        return f"{OBEYED} {told[0]}" if told else last_text(body).rstrip().rpartition("\n")[2]

    def calls(self, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Search first, where it can; then call the tools that it is told to, each once."""
        if _is_to_search(body):
            return [("search_documents", {"query": last_text(body)})]
        heard = [call for text in self.heard(body) for call in calls_in(text)]
        told = [(name, arguments) for name, arguments in heard if name not in self.called]
        self.called += [name for name, _ in told]
        return told

    def heard(self, body: dict[str, Any]) -> list[str]:
        """Give the texts of a request that it takes orders from."""
        raise NotImplementedError


class Gullible(Mind):
    """Takes orders from anybody, in fences and out of them."""

    def heard(self, body: dict[str, Any]) -> list[str]:
        return [text for _, text in texts_of(body)]


class Obedient(Mind):
    """Keeps to the rules of the system instruction, and takes every order that they do not keep from it.

    It knows from there the word on the lines that data stands between, and whether its own earlier answers are data.
    Whatever else is in the request it obeys: questions, titles, what tools gave, and the lines of the fence themselves.
    """

    def heard(self, body: dict[str, Any]) -> list[str]:
        system = system_of(body)
        word = boundary_of(body)
        spoken = [(role, text) for role, text in texts_of(body) if not (role == "model" and _EARLIER in system)]
        return [_outside(text, word) if word else text for _, text in spoken]


def system_of(body: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", []))


def boundary_of(body: dict[str, Any]) -> str:
    """Give the word that the system instruction names, empty where it names none."""
    found = _BOUNDARY.search(system_of(body))
    return found[1] if found else ""


def _is_to_search(body: dict[str, Any]) -> bool:
    """Tell an agent's first step."""
    return bool(body.get("tools")) and not any("functionResponse" in part for part in body["contents"][-1]["parts"])


def _outside(text: str, word: str) -> str:
    """Leave out what stands between a line that holds the word and the next one that says `end`, in pairs."""
    depth, kept = 0, []
    for line in text.split("\n"):
        if word in line:
            depth += -1 if f"{word} end" in line else 1
            kept.append(line)
        elif depth <= 0:
            kept.append(line)
    return "\n".join(kept)


def texts_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Give all that is said in a request besides the system instruction, and by whom."""
    declared = [each for tool in body.get("tools", ()) for each in tool["functionDeclarations"]]
    said: list[tuple[str, str]] = [("tool", each["description"]) for each in declared]
    for content in body["contents"]:
        for part in content["parts"]:
            if "text" in part:
                said.append((content["role"], part["text"]))
            given = part.get("functionResponse", {}).get("response", {})
            said += [("tool", str(value)) for value in given.values()]
    return said


def last_text(body: dict[str, Any]) -> str:
    return texts_of(body)[-1][1]


def _filled_in(order: str, body: dict[str, Any]) -> str:
    """Put into an order's words what it asks for."""
    word = boundary_of(body)
    question = last_text(body).rpartition("Question: ")[2]
    asked = {
        "%SYSTEM%": system_of(body), "%BOUNDARY%": word, "%BOUNDARY IN CAPITALS%": word.upper(),
        "%EVERYTHING%": json.dumps(body), "%QUESTION%": question.replace(" ", "+"), "%ESC%": "\x1b",
        "%EVIL%": "evil.example", "%LOOK-ALIKE%": "і", "%NO WIDTH%": "\u200b", "%BACKSLASH%": "\\",
        "%HIDDEN%": "".join(chr(0xE0000 + ord(char)) for char in question if char.isascii()), "%TURNED%": "\u202e",
    }  # fmt: skip
    for name, value in asked.items():
        order = order.replace(name, value)
    return order
