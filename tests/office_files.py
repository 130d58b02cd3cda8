"""Small documents of each format, made by the programs' own libraries or part by part."""

import io
import zipfile
from collections.abc import Mapping

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)


def a_zip(parts: Mapping[str, str | bytes], *, stored: frozenset[str] = frozenset({"mimetype"})) -> bytes:
    """Make an archive, its parts in order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name in stored else None)
    return buffer.getvalue()


def docx_paragraph(text: str, style: str = "") -> str:
    """Give a paragraph's XML; `style` is for example `Heading1`."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def docx_table(rows: list[list[str]]) -> str:
    """Give a table's XML."""
    lines = ("".join(f"<w:tc>{docx_paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{line}</w:tr>" for line in lines) + "</w:tbl>"


def a_docx(body: str, *, prolog: str = "", more: Mapping[str, str | bytes] | None = None) -> bytes:
    """Make a Word document of a body's XML. `more` adds parts or replaces them."""
    document = f'<?xml version="1.0"?>{prolog}<w:document {_W}><w:body>{body}</w:body></w:document>'
    return a_zip({"[Content_Types].xml": _TYPES, "_rels/.rels": _RELS, "word/document.xml": document, **(more or {})})


def a_pptx(slides: list[tuple[str, list[str], str]]) -> bytes:
    """Make a presentation of (title, lines, notes)."""
    from pptx import Presentation  # noqa: PLC0415  (half a second that most tests do not need)

    deck = Presentation()
    for title, lines, notes in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        if title and slide.shapes.title is not None:
            slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(lines)
        if notes and slide.notes_slide.notes_text_frame is not None:
            slide.notes_slide.notes_text_frame.text = notes
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def an_xlsx(sheets: Mapping[str, list[list[object]]], *, merged: str = "", corner: str = "", prolog: str = "") -> bytes:
    """Make a workbook; cells may be text, numbers, dates. `prolog` stands before the part that holds them."""
    from openpyxl import Workbook  # noqa: PLC0415  (as above)

    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if merged:
            sheet.merge_cells(merged)
        if corner:
            sheet["XFD1048576"] = corner  # the last cell that there is
    buffer = io.BytesIO()
    book.save(buffer)
    if not prolog:
        return buffer.getvalue()
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    # The text "x" becomes the entity that the prolog declares, wherever the writer put it.
    return a_zip({
        name: prolog + part.split("?>")[-1].replace(">x<", ">&b;<") if ">x<" in part else part
        for name, part in parts.items()
    })  # fmt: skip


_ODF = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
)
_ODT_TYPE = "application/vnd.oasis.opendocument.text"


def an_odt(body: str, *, encryption: str = "", prolog: str = "") -> bytes:
    """Make an OpenDocument text of a body's XML."""
    manifest = (
        '<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{_ODT_TYPE}"/>'
        f'<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{encryption}'
        "</manifest:file-entry></manifest:manifest>"
    )
    content = (
        f'<?xml version="1.0"?>{prolog}<office:document-content {_ODF} office:version="1.2"><office:body>'
        f"<office:text>{body}</office:text></office:body></office:document-content>"
    )
    empty = f'<?xml version="1.0"?><office:document-styles {_ODF} office:version="1.2"/>'
    return a_zip(
        {"mimetype": _ODT_TYPE, "content.xml": content, "styles.xml": empty, "META-INF/manifest.xml": manifest}
    )


def an_ods(sheets: Mapping[str, list[list[str]]]) -> bytes:
    """Make an OpenDocument spreadsheet of text cells."""
    tables = ""
    for name, rows in sheets.items():
        lines = ("".join(f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in row) for row in rows)  # fmt: skip
        tables += f'<table:table table:name="{name}">' + "".join(f"<table:table-row>{line}</table:table-row>" for line in lines) + "</table:table>"  # fmt: skip
    content = (
        f'<?xml version="1.0"?><office:document-content {_ODF} office:version="1.2"><office:body>'
        f"<office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return a_zip({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": "<x/>"})


def an_epub(chapters: list[str], *, package: str = "OEBPS/content.opf", encrypted: str = "") -> bytes:
    """Make an e-book of chapters' XHTML bodies."""
    items = "".join(f'<item id="c{n}" href="c%20{n}.xhtml" media-type="x"/>' for n in range(len(chapters)))
    order = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": (
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            f'<rootfile full-path="{package}"/></rootfiles></container>'
        ),
        package: (
            f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{order}</spine></package>'
        ),
    }
    for number, body in reversed(list(enumerate(chapters))):  # not in reading order
        parts[f"OEBPS/c {number}.xhtml"] = f"<html><head><title>T</title></head><body>{body}</body></html>"
    if encrypted:
        parts["META-INF/encryption.xml"] = (
            '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:CipherData>'
            f'<e:CipherReference URI="{encrypted}"/></e:CipherData></e:EncryptedData></encryption>'
        )
    return a_zip(parts)
