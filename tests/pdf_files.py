"""Small PDFs, written by hand, so that each test shows what its file holds."""

from collections.abc import Sequence
from pathlib import Path


def a_pdf(pages: Sequence[str], *, font: str = "", extra: Sequence[str] = ()) -> bytes:
    """Make a PDF with these texts, one a page; `extra` objects are numbered from 4 on.

    A page's text is a line of Latin-1; a font with a /ToUnicode may read it as anything.
    """
    objects = ["<</Type/Catalog/Pages 2 0 R>>", "", f"<</Type/Font/Subtype/Type1/BaseFont/Helvetica{font}>>", *extra]
    kids = []
    for text in pages:
        escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        lines = "".join(f"({line}) Tj T* " for line in escaped.split("\n"))
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET" if text else ""
        objects.append(stream(content))
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {len(objects)} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>"
    return _file(objects)


def stream(content: str) -> str:
    """Write a stream object's body."""
    return f"<</Length {len(content.encode('latin-1'))}>>\nstream\n{content}\nendstream"


def to_unicode(pairs: dict[str, str]) -> str:
    """Write a /ToUnicode stream that maps a byte (as Latin-1) to hexadecimal UTF-16BE."""
    rows = "\n".join(f"<{ord(code):02x}> <{target}>" for code, target in pairs.items())
    return stream(
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        f"1 begincodespacerange <00> <ff> endcodespacerange\n{len(pairs)} beginbfchar\n{rows}\nendbfchar\n"
        "endcmap end end"
    )


def _file(objects: Sequence[str]) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    out += f"trailer <</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def write(path: Path, content: bytes) -> Path:
    """Write a file and give its path back."""
    path.write_bytes(content)
    return path
