"""LlamaIndex: SimpleDirectoryReader, an IngestionPipeline of SentenceSplitter and embedding, PGVectorStore."""

from pathlib import Path
from typing import Any

import pypdfium2
from llama_index.core import Document, SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.readers.base import BaseReader
from llama_index.embeddings.google_genai import GoogleGenAIEmbedding
from llama_index.vector_stores.postgres import PGVectorStore
from sqlalchemy import make_url

from bench.rivals.programs.protocol import BATCH, MODEL, WIDTH, database_url, serve, timed

CHUNK_TOKENS, OVERLAP_TOKENS = 160, 25  # gives as many chunks as the others; metadata is counted in


class PDFiumReader(BaseReader):
    """A document a page, as LlamaIndex's own PDFReader gives."""

    def load_data(self, file: Path, extra_info: dict[str, Any] | None = None, **_: object) -> list[Document]:
        """Read one file."""
        with pypdfium2.PdfDocument(file) as pdf:
            return [
                Document(
                    text=page.get_textpage().get_text_range(),
                    metadata={"page_label": str(number), **(extra_info or {})},
                )
                for number, page in enumerate(pdf, 1)
            ]


EXTRACTORS: dict[str, dict[str, BaseReader] | None] = {"pypdf": None, "pypdfium2": {".pdf": PDFiumReader()}}

url = make_url(database_url(""))
pipeline = IngestionPipeline(
    transformations=[
        SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS),
        GoogleGenAIEmbedding(
            model_name=MODEL, embedding_config={"output_dimensionality": WIDTH}, embed_batch_size=BATCH
        ),
    ],
    vector_store=PGVectorStore.from_params(
        host=url.host, port=str(url.port), database=url.database, user=url.username, password=url.password,
        table_name="llama_index", embed_dim=WIDTH,
    ),
)  # fmt: skip


def ingest(files: list[str], reader: str) -> int:
    """Read all, run the pipeline once."""
    documents = SimpleDirectoryReader(input_files=files, file_extractor=EXTRACTORS[reader]).load_data()
    return len(pipeline.run(documents=documents))


if __name__ == "__main__":
    serve(timed(ingest))
