"""LangChain: a loader, RecursiveCharacterTextSplitter, GoogleGenerativeAIEmbeddings, PGVectorStore."""

from langchain_community.document_loaders import PyPDFium2Loader, PyPDFLoader
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from bench.rivals.programs.protocol import (
    CHUNK_CHARACTERS,
    MODEL,
    OVERLAP_CHARACTERS,
    WIDTH,
    database_url,
    serve,
    timed,
)

TABLE = "langchain"
LOADERS = {"pypdf": PyPDFLoader, "pypdfium2": PyPDFium2Loader}

engine = PGEngine.from_connection_string(database_url("asyncpg"))
engine.init_vectorstore_table(table_name=TABLE, vector_size=WIDTH)
store = PGVectorStore.create_sync(
    engine=engine,
    table_name=TABLE,
    embedding_service=GoogleGenerativeAIEmbeddings(model=MODEL, output_dimensionality=WIDTH),
)
splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARACTERS, chunk_overlap=OVERLAP_CHARACTERS)


def ingest(files: list[str], reader: str) -> int:
    """Load all, split all, add all."""
    pages = [page for file in files for page in LOADERS[reader](file).load()]
    return len(store.add_documents(splitter.split_documents(pages)))


if __name__ == "__main__":
    serve(timed(ingest))
