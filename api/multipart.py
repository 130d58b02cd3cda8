"""A form's parts as they come: headers are read here, what is in a part is its taker's."""

from dataclasses import dataclass

from python_multipart.multipart import MultipartParser, parse_options_header

from domain.errors import InvalidRequest


@dataclass(slots=True)
class Part:
    """A part of the form, as its headers say."""

    name: str = ""
    filename: str | None = None
    content_type: str | None = None


def boundary_of(content_type: str, *, param: str) -> bytes:
    """Give the boundary that a form's content type names. Raises `InvalidRequest`, which names `param`."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest(f"Send the {param} as multipart/form-data.", param=param)
    return boundary


def broken_form(*, param: str) -> InvalidRequest:
    """Say that the form cannot be read to its end."""
    return InvalidRequest("The multipart form is broken or ends too early.", param=param)


class FormReader:
    """Takes what the parser calls back with; `part` is the one that is being read."""

    def __init__(self) -> None:
        self.part = Part()
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()

    def parser(self, boundary: bytes) -> MultipartParser:
        """Give a parser that tells this reader; write the request's bytes into it."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self.begin_part,
                "on_part_data": lambda data, start, end: self.take(bytes(data[start:end])),
                "on_part_end": self.end_part,
                "on_end": self._end,
            },
        )

    def begin_part(self) -> None:
        """Take note of `part`, whose headers are read."""

    def take(self, data: bytes) -> None:
        """Take the next bytes of `part`."""

    def end_part(self) -> None:
        """Take note of the end of `part`."""

    def _begin(self) -> None:
        self.part = Part()

    def _end_header(self) -> None:
        name, value = bytes(self._header).lower(), bytes(self._value)
        self._header.clear()
        self._value.clear()
        if name == b"content-disposition":
            _, options = parse_options_header(value)
            self.part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self.part.filename = options[b"filename"].decode("utf-8", "replace")
        elif name == b"content-type":
            self.part.content_type = value.decode("latin-1")

    def _end(self) -> None:
        self.ended = True
