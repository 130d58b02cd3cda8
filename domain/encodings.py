"""Names of text encodings, as a person may ask for them."""

import codecs

from domain.errors import InvalidRequest

COMMON = (
    "utf-8", "utf-16", "windows-1252", "iso-8859-1", "iso-8859-15", "windows-1250", "iso-8859-2", "windows-1251",
    "koi8-r", "cp866", "windows-1253", "windows-1254", "windows-1255", "windows-1256", "windows-1257", "cp874", "cp437",
    "cp850", "mac-roman", "shift_jis", "euc-jp", "iso-2022-jp", "gb18030", "big5", "euc-kr",
)  # fmt: skip
"""What is suggested; whatever Python knows as a text encoding is taken."""

# Codecs of Python that are no encodings of files: of host names, of source code, of nothing.
_SPECIAL = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem", "utf-7"})


def canonical(name: str) -> str:
    """Give an encoding's own name, for example `cp1252` for `Windows-1252`. Raises `InvalidRequest`."""
    try:
        found = codecs.lookup(name.strip())
        "".encode(found.name)  # codecs that are from bytes to bytes refuse
    except (LookupError, ValueError):
        raise _unknown() from None
    if found.name.replace("_", "-") in _SPECIAL:
        raise _unknown()
    return found.name


def _unknown() -> InvalidRequest:
    return InvalidRequest(
        f"The encoding is not known. Leave it out to have it detected, or give one such as {', '.join(COMMON)}.",
        param="encoding",
    )
