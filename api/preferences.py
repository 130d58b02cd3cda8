"""What a client's headers ask for."""

import re
from urllib.request import parse_http_list

_NOTHING = re.compile(r"q\s*=\s*0(?:\.0*)?")


def names(header: str, wanted: str) -> bool:
    """Tell whether a list in a header, as `Accept` and `Prefer` are, names it in any case, and not with `q=0`."""
    entries = (map(str.strip, entry.lower().split(";")) for entry in parse_http_list(header))
    return any(name == wanted and not any(map(_NOTHING.fullmatch, parameters)) for name, *parameters in entries)
