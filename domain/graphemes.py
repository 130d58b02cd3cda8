"""Grapheme clusters: what a reader sees as one character is never cut."""

import regex

_CLUSTER = regex.compile(r"\X")

# Pairs that no cluster joins, whatever stands around them: checked first, since nearly every position is so.
_APART = regex.compile(
    r"(?<=[\p{GCB=Other}\p{GCB=Control}\p{GCB=LF}\p{GCB=V}\p{GCB=T}\p{GCB=LV}\p{GCB=LVT}])"
    r"(?=[\p{GCB=Other}\p{GCB=Control}\p{GCB=L}\p{GCB=LV}\p{GCB=LVT}])"
    r"|(?<=[^\p{GCB=Prepend}\r])(?=[\x00-\x7f])"
)


def floor_boundary(text: str, start: int, position: int) -> int:
    """Find the last boundary at or before `position`; `start` is one already."""
    if position <= start or position >= len(text):
        return min(max(position, start), len(text))
    anchor = position
    while anchor > start and not _APART.match(text, anchor):
        anchor -= 1
    if anchor == position:
        return position
    # Only a slice is searched: for flags, the cluster pattern counts back to the beginning of its text.
    piece, end = text[anchor : position + 1], 0
    while (following := cluster_end(piece, end)) <= position - anchor and following > end:
        end = following
    return anchor + end


def is_boundary(text: str, start: int, position: int) -> bool:
    """Tell whether a cut at `position` leaves every cluster whole; `start` is a boundary."""
    return floor_boundary(text, start, position) == position


def cluster_end(text: str, start: int) -> int:
    """Give the end of the cluster that begins at `start`."""
    match = _CLUSTER.match(text, start)
    return match.end() if match else len(text)
