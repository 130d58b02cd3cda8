"""Reads presentations: a page a slide, its title as heading, tables, charts' words and the speaker's notes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pptx import Presentation
from pptx.slide import Slide

from adapters.extraction.archive import check_xml, open_archive, xml_parts
from adapters.extraction.cleaning import clean_piece
from adapters.extraction.markdown import heading, paragraph, table, tidy
from adapters.extraction.messages import NO_TEXT_IN_DOCUMENT, too_many_pages
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import ExtractionLimit, NoText


def read(source: Path, output: PageWriter, order: Order) -> None:
    """Write slide by slide; one that holds nothing is a blank page, so that numbers stay right."""
    with open_archive(source, order, needs="ppt/presentation.xml") as archive:
        check_xml(archive, xml_parts(archive))
    slides = Presentation(str(source)).slides
    total, found = len(slides), False
    if total > order["pages"]:
        raise ExtractionLimit(too_many_pages(total, order["pages"]))
    for number, slide in enumerate(slides, start=1):
        text = clean_piece(_slide(slide))
        found = found or bool(text.strip())
        title = _title(slide) or f"Slide {number}"
        output.write(number, tidy(heading(1, clean_piece(title)) + text) if text or _title(slide) else "", total)
        found = found or bool(_title(slide))
    if not found:
        raise NoText(NO_TEXT_IN_DOCUMENT)


def _title(slide: Slide) -> str:
    title = slide.shapes.title
    return " ".join(title.text_frame.text.split()) if title is not None and title.has_text_frame else ""


def _slide(slide: Slide) -> str:
    title = slide.shapes.title
    skipped = title.shape_id if title is not None and _title(slide) else None
    parts = [part for shape in slide.shapes if shape.shape_id != skipped for part in _shape(shape)]
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        parts.append("Notes:\n\n" + paragraph(frame.text))
    return "\n\n".join(part for part in parts if part.strip())


def _shape(shape: Any) -> Iterator[str]:
    if (inner := getattr(shape, "shapes", None)) is not None:
        for each in inner:
            yield from _shape(each)
    elif getattr(shape, "has_table", False):
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False):
        yield _chart(shape.chart)
    elif getattr(shape, "has_text_frame", False):
        yield _frame(shape.text_frame.paragraphs)


def _frame(paragraphs: Iterable[Any]) -> str:
    lines = [(each.level, " ".join(each.text.split())) for each in paragraphs]
    if any(level for level, _ in lines):
        return "\n".join(f"{'  ' * level}- {text}" for level, text in lines if text)
    return paragraph("\n".join(text for _, text in lines if text))


def _chart(chart: Any) -> str:
    """Give a chart's title and its numbers as a table; a kind that has no categories gives its title only."""
    title = chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else ""
    try:
        plot = chart.plots[0]
        series = list(plot.series)
        rows = [["", *[each.name for each in series]]]
        rows += [
            [str(label), *[_number(each.values, at) for each in series]] for at, label in enumerate(plot.categories)
        ]
    except (AttributeError, IndexError, KeyError, ValueError, NotImplementedError):
        rows = []
    return "\n\n".join(part for part in (title, table(rows)) if part)


def _number(values: tuple[float | None, ...], at: int) -> str:
    return "" if at >= len(values) or values[at] is None else f"{values[at]:g}"
