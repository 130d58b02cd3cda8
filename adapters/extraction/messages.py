"""What a person is told when a document cannot be read: what is wrong and what to do."""

ENCRYPTED = "The PDF opens with a password only. Remove the password and upload it again."
CORRUPT = (
    "The PDF is damaged and cannot be read. Export it again from where it was made, or repair it, and upload that."
)
_RECOGNIZE = (
    "Install Tesseract on the workers or set up a provider that reads images (CHATSPHERE_OCR), then retry; "
    "or upload a searchable version, made by text recognition (OCR)."
)
NO_TEXT_IN_PDF = f"The PDF has no text; it looks like a scan or a picture. {_RECOGNIZE}"
NO_TEXT_IN_IMAGE = f"The file is an image, and this deployment has nothing to recognise its text with. {_RECOGNIZE}"
BLANK_PDF = (
    "The PDF has no text and no pictures that could show any. Upload a file that holds text, or a version made by text "
    "recognition (OCR)."
)
PAGES_WITHOUT_TEXT = "Pages of the document look like pictures; their text has to be recognised."
CORRUPT_IMAGE = "The image is damaged and cannot be read. Save it again as PNG or JPEG and upload that."
NO_TEXT_IN_DOCUMENT = (
    "The document holds no text. If its pages are pictures, export it as PDF and upload that, or a version made by text "
    "recognition (OCR)."
)
NO_TEXT_IN_FILE = "The file holds no text but white space. Upload a file that holds text."
UNREADABLE = (
    "The PDF's text layer is not readable language: its fonts do not say which letters they show. "
    f"{_RECOGNIZE} Or export the document again."
)
CORRUPT_DOCUMENT = (
    "The document is damaged, or is not what its first bytes say. Open it where it was made, save it again, "
    "and upload that."
)
ENCRYPTED_DOCUMENT = "The document opens with a password only. Remove the password and upload it again."
DECLARES_ENTITIES = "The document declares XML entities, which no Office program writes. Open it in one, save it again, and upload that."
TOO_DEEP = (
    "The document's elements nest deeper than any real document's. Save it again from an editor, and upload that."
)
BINARY = "The file is binary, not text. Give it the name of what it is, or save it in a format that is read."
UNDRAWABLE = "The page cannot be drawn as an image within the limits. Export the document again, or upload its text."
OUT_OF_MEMORY = (
    "Reading the document takes more memory than this deployment allows. Simplify or split it, "
    "or raise CHATSPHERE_EXTRACTION_MEMORY_BYTES."
)
TOO_SLOW = (
    "Reading the document takes longer than this deployment allows. Simplify or split it, "
    "or raise CHATSPHERE_EXTRACTION_WALL_SECONDS and CHATSPHERE_EXTRACTION_CPU_SECONDS."
)
LOST = (
    "The process that reads documents ended before it was done. It starts again by itself; the document is tried again."
)


def too_many_pages(pages: int, limit: int) -> str:
    """Name both numbers."""
    return (
        f"The document has {pages:,} pages; this deployment reads {limit:,} at most. "
        "Split it and upload the parts, or raise CHATSPHERE_EXTRACTION_PAGES."
    )


def too_many_pixels(pixels: int, limit: int) -> str:
    """Name both numbers."""
    return (
        f"The image has {pixels:,} pixels; {limit:,} at most are read. Scale it down and upload that; "
        "300 dots per inch are enough for text."
    )


def too_much_text(limit: int) -> str:
    """Name the limit, in bytes."""
    return (
        f"The document holds more text than this deployment takes ({limit:,} bytes). "
        "Split it and upload the parts, or raise CHATSPHERE_EXTRACTION_OUTPUT_BYTES."
    )


def too_many_entries(entries: int, limit: int) -> str:
    """Name both numbers."""
    return (
        f"The file is an archive of {entries:,} parts; this deployment opens {limit:,} at most. "
        "Split the document, or raise CHATSPHERE_EXTRACTION_ARCHIVE_ENTRIES."
    )


def too_large_archive(size: int, limit: int, ratio: int) -> str:
    """Name the size and both limits."""
    return (
        f"The file unpacks to {size:,} bytes; this deployment opens {limit:,} at most, and no part that grows more than "
        f"{ratio:,} times. Split the document or save it again, or raise CHATSPHERE_EXTRACTION_ARCHIVE_BYTES "
        "and CHATSPHERE_EXTRACTION_ARCHIVE_RATIO."
    )
