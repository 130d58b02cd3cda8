"""A stranger's text where it must stay on its line: a title, a name, a quotation."""

import regex

# What moves text about without being seen, so that it could pass for another; joiners, which words need, stay.
_UNSEEN = regex.compile(r"[\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_CONTROL = regex.compile(r"[\p{Cc}\p{Zl}\p{Zp}]")


def on_one_line(text: str) -> str:
    """Write a text on one line, without controls."""
    return " ".join(_CONTROL.sub(" ", _UNSEEN.sub("", text)).split())
