"""Haystack: a pipeline of converter, DocumentSplitter, GoogleGenAIDocumentEmbedder and PgvectorDocumentStore."""

import pypdfium2
from haystack import Document, Pipeline, component
from haystack.components.converters import PyPDFToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.utils import Secret
from haystack_integrations.components.embedders.google_genai import GoogleGenAIDocumentEmbedder
from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

from bench.rivals.programs.protocol import BATCH, MODEL, WIDTH, database_url, serve, timed

SPLIT_WORDS, OVERLAP_WORDS = 90, 16  # gives as many chunks as the others


@component
class PDFiumToDocument:
    """A document a file, pages divided by form feeds, as PyPDFToDocument gives."""

    @component.output_types(documents=list[Document])
    def run(self, sources: list[str]) -> dict[str, list[Document]]:
        """Read the files."""
        return {"documents": [Document(content=self._text(source), meta={"file_path": source}) for source in sources]}

    def _text(self, source: str) -> str:
        with pypdfium2.PdfDocument(source) as pdf:
            return "\f".join(page.get_textpage().get_text_range() for page in pdf)


def pipeline(converter: object) -> Pipeline:
    """Connect the four components."""
    made = Pipeline()
    made.add_component("converter", converter)
    made.add_component(
        "splitter", DocumentSplitter(split_by="word", split_length=SPLIT_WORDS, split_overlap=OVERLAP_WORDS)
    )
    made.add_component(
        "embedder",
        GoogleGenAIDocumentEmbedder(
            model=MODEL, config={"output_dimensionality": WIDTH}, batch_size=BATCH, progress_bar=False
        ),
    )
    made.add_component("writer", DocumentWriter(document_store=store))
    made.connect("converter", "splitter")
    made.connect("splitter", "embedder")
    made.connect("embedder", "writer")
    return made


store = PgvectorDocumentStore(connection_string=Secret.from_token(database_url("")), embedding_dimension=WIDTH)
PIPELINES = {"pypdf": pipeline(PyPDFToDocument()), "pypdfium2": pipeline(PDFiumToDocument())}


def ingest(files: list[str], reader: str) -> int:
    """Run the pipeline once over all files."""
    written: int = PIPELINES[reader].run({"converter": {"sources": files}})["writer"]["documents_written"]
    return written


if __name__ == "__main__":
    serve(timed(ingest))
