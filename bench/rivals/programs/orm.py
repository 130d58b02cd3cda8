"""Hand-made ingestion over the SQLAlchemy ORM: what BackgroundTasks and Celery run.

The seconds are taken as ChatSphere's are: from the row of the document to its being ready, by the database's clock.
"""

import time
from datetime import datetime
from functools import cache
from threading import Lock
from uuid import UUID, uuid4

import pypdf
import pypdfium2
from google import genai
from google.genai import types
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pgvector.sqlalchemy import Vector
from sqlalchemy import DateTime, Engine, ForeignKey, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.rivals.programs.protocol import (
    BATCH,
    CHUNK_CHARACTERS,
    MODEL,
    OVERLAP_CHARACTERS,
    WIDTH,
    Outcome,
    database_url,
)


class Base(DeclarativeBase):
    """The tables of this module."""


class Document(Base):
    """A file that was accepted."""

    __tablename__ = "documents"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    path: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    ready_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Chunk(Base):
    """A piece of its text, with its embedding."""

    __tablename__ = "chunks"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id"), index=True)
    ordinal: Mapped[int]
    content: Mapped[str]
    embedding: Mapped[list[float]] = mapped_column(Vector(WIDTH))


@cache
def engine() -> Engine:
    """Give this process's pool."""
    return create_engine(database_url("psycopg"))


@cache
def client() -> genai.Client:
    """Give this process's client."""
    return genai.Client()


splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARACTERS, chunk_overlap=OVERLAP_CHARACTERS)


def accept(path: str) -> UUID:
    """Store the document's row."""
    with Session(engine()) as session:
        document = Document(path=path)
        session.add(document)
        session.commit()
        return document.id


def ingest(document_id: UUID, path: str, reader: str) -> None:
    """Extract, split, embed a batch after the other, store everything in one transaction."""
    try:
        pieces = splitter.split_text(READERS[reader](path))
        vectors = [vector for at in range(0, len(pieces), BATCH) for vector in embed(pieces[at : at + BATCH])]
        with Session(engine()) as session:
            session.add_all(
                Chunk(document_id=document_id, ordinal=ordinal, content=piece, embedding=vector)
                for ordinal, (piece, vector) in enumerate(zip(pieces, vectors, strict=True))
            )
            _settle(session, document_id, "ready")
    except Exception:
        with Session(engine()) as session:
            _settle(session, document_id, "failed")
        raise


def _settle(session: Session, document_id: UUID, status: str) -> None:
    document = session.get_one(Document, document_id)
    document.status, document.ready_at = status, func.clock_timestamp()
    session.commit()


def embed(texts: list[str]) -> list[list[float]]:
    """Embed in one call."""
    contents: list[types.ContentUnion] = [*texts]
    response = client().models.embed_content(
        model=MODEL, contents=contents, config=types.EmbedContentConfig(output_dimensionality=WIDTH)
    )
    return [embedding.values or [] for embedding in response.embeddings or []]


def _with_pypdf(path: str) -> str:
    return "\n\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


# PDFium is not made for threads: two that read at a time end the process, as BackgroundTasks' pool of them did.
_ONE_AT_A_TIME = Lock()


def _with_pdfium(path: str) -> str:
    with _ONE_AT_A_TIME, pypdfium2.PdfDocument(path) as pdf:
        return "\n\n".join(page.get_textpage().get_text_range() for page in pdf)


READERS = {"pypdf": _with_pypdf, "pypdfium2": _with_pdfium}


def outcome(ids: list[UUID]) -> Outcome:
    """Wait until all are ready, and give their seconds and chunks."""
    with Session(engine()) as session:
        while (pending := _pending(session, ids)) > 0:
            time.sleep(min(0.05, 0.005 * pending))
        took = func.extract("epoch", func.max(Document.ready_at) - func.min(Document.created_at))
        seconds = float(session.scalars(select(took).where(Document.id.in_(ids))).one())
        chunks = session.scalars(select(func.count()).where(Chunk.document_id.in_(ids))).one()
    return Outcome(seconds, chunks)


def _pending(session: Session, ids: list[UUID]) -> int:
    counts = select(Document.status, func.count()).where(Document.id.in_(ids)).group_by(Document.status)
    by_status = dict(session.execute(counts).tuples().all())
    session.rollback()
    if by_status.get("failed"):
        raise RuntimeError(f"{by_status['failed']} documents failed")
    return by_status.get("pending", 0)
