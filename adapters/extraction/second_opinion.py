"""pypdf, opened when it is first asked. Whatever it raises is an answer: it cannot read this."""

import logging
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pypdf import PdfReader


class SecondOpinion:
    """Reads the same file with pypdf. `MemoryError` alone passes through: that is a limit."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._reader: PdfReader | None = None
        self._opened = False
        self._encrypted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._reader is not None:
            self._reader.close()

    def is_encrypted(self) -> bool:
        """Tell whether it opens with a password only."""
        self._open()
        return self._encrypted

    def count(self) -> int | None:
        """Count the pages; none where the file cannot be read."""
        reader = self._open()
        if reader is None:
            return None
        try:
            return len(reader.pages)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (exceptions of every kind escape pypdf)
            return None

    def page(self, index: int) -> str | None:
        """Give a page's text, none where it cannot be read."""
        reader = self._open()
        if reader is None:
            return None
        try:
            return reader.pages[index].extract_text()
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (as above)
            return None

    def _open(self) -> "PdfReader | None":
        if self._opened:
            return self._reader
        self._opened = True
        # Its import takes longer than most documents, and most never need it.
        from pypdf import PasswordType, PdfReader  # noqa: PLC0415  (see above)

        logging.getLogger("pypdf").disabled = True  # its warnings quote the document
        try:
            reader = PdfReader(self._source)
            self._encrypted = reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (as above)
            return None
        self._reader = reader
        return reader
