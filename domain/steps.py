"""Every activity's contract: name, input, output, queue and policy, in one place.

Workflows call a step with `workflows.step.run_step`; `activities/registry.py` implements each.
Inputs and outputs are ids, counts and codes, never content: they are written into histories.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from domain import policy
from domain.conversation import TurnOutcome
from domain.crawls import CrawlRef, CrawlStatus
from domain.documents import IngestionRef
from domain.ids import BotId, ConversationId, DocumentId, ImportId, MessageId, TurnId, UserId
from domain.indexes import IndexState
from domain.model import Model
from domain.policy import Policy
from domain.tools import CallStatus, ToolType

InputT = TypeVar("InputT", bound=Model)
OutputT = TypeVar("OutputT", bound=Model)


class Queue(StrEnum):
    """Task queues; one worker process serves any subset."""

    CHAT = "chat"
    INGEST_CPU = "ingest-cpu"
    MODELS = "models"
    WEB = "web"


@dataclass(frozen=True, slots=True)
class Step(Generic[InputT, OutputT]):
    """An activity as its caller sees it. A local step runs in the workflow's own worker."""

    name: str
    input: type[InputT]
    output: type[OutputT]
    queue: Queue
    policy: Policy
    summary: str
    local: bool = False
    # The row that the step writes is a fence of its own, so nobody needs to wait for its end.
    try_cancel: bool = False


class Done(Model):
    """Nothing to report."""


# Ingestion


class Begun(Model):
    """Whether the ingestion may go on; if not it waits in its owner's line, and asks again when it is called."""

    admitted: bool = True


class Extracted(Model):
    """Pages and characters that extraction stored, how many pages are left to be recognised, and where."""

    pages: int
    characters: int
    pages_to_recognize: int = 0
    by_provider: bool = False


class RecognizePages(Model):
    """The next pages of an ingestion that are to be recognised; `part` counts the times."""

    ref: IngestionRef
    part: int


class Recognized(Model):
    """How many pages are left to be recognised, and the characters that the document's pages hold so far."""

    pages_left: int
    characters: int


class Chunked(Model):
    """Chunks that were planned, and the shards that they are stored in."""

    chunks: int
    shards: int


class EmbedShard(Model):
    """One shard of an ingestion's chunks."""

    ref: IngestionRef
    shard: int


class Embedded(Model):
    """Chunks of the shard that are stored, and the model calls that this attempt made."""

    chunks: int
    model_calls: int


class ParkIngestion(Model):
    """Why an ingestion waits for a person."""

    ref: IngestionRef
    code: str
    message: str


class CloseIngestion(Model):
    """How an ingestion that is not published ends."""

    ref: IngestionRef
    cancelled: bool
    code: str
    message: str


class Closed(Model):
    """An ingestion's end, and the newer version that waits for the same workflow id.

    `published` is true where it was published, however it was asked to end: nothing is to be discarded.
    """

    successor: IngestionRef | None = None
    published: bool = False


BEGIN_INGESTION = Step(
    "begin_ingestion", IngestionRef, Begun, Queue.CHAT, policy.DATABASE, "Take the document up", local=True
)
EXTRACT = Step("extract", IngestionRef, Extracted, Queue.INGEST_CPU, policy.EXTRACT, "Extract text page by page")
RECOGNIZE = Step(
    "recognize", RecognizePages, Recognized, Queue.MODELS, policy.RECOGNIZE, "Let the provider read page images"
)
# The same on this machine's processors, which belong to that queue: chat must not wait behind them.
RECOGNIZE_LOCALLY = Step(
    "recognize_locally", RecognizePages, Recognized, Queue.INGEST_CPU, policy.RECOGNIZE, "Read page images (OCR)"
)
KEEP_TEXT_PAGES = Step(
    "keep_text_pages",
    IngestionRef,
    Done,
    Queue.CHAT,
    policy.DATABASE,
    "Go on with the pages that have text",
    local=True,
)
CHUNK = Step("chunk", IngestionRef, Chunked, Queue.CHAT, policy.CHUNK, "Split the text into chunks", local=True)
EMBED = Step("embed", EmbedShard, Embedded, Queue.MODELS, policy.EMBED, "Embed and store chunks")
PUBLISH = Step(
    "publish", IngestionRef, Closed, Queue.CHAT, policy.DATABASE, "Make this version the one that answers", local=True
)
PARK = Step("park", ParkIngestion, Done, Queue.CHAT, policy.DATABASE, "Ask a person for help", local=True)
DISCARD_ARTIFACTS = Step(
    "discard_artifacts", IngestionRef, Done, Queue.CHAT, policy.PURGE, "Delete extracted pages and planned chunks"
)
DISCARD_CHUNKS = Step("discard_chunks", IngestionRef, Done, Queue.CHAT, policy.PURGE, "Delete stored chunks")
CLOSE_INGESTION = Step(
    "close_ingestion", CloseIngestion, Closed, Queue.CHAT, policy.DATABASE, "Close the ingestion", local=True
)


# Imports


class ImportRef(Model):
    """What every step of an import is given; `epoch` counts the runs that were asked for."""

    owner_id: UserId
    bot_id: BotId
    import_id: ImportId
    epoch: int = 1


class ImportBegun(Model):
    """What there is to do, and how many packs were taken up before."""

    closed: bool = False
    cancelled: bool = False
    unpack: bool = False
    packs: int = 0


class Unpacked(Model):
    """Entries of the archive that were looked at, all attempts together."""

    items: int


class PackRef(Model):
    """One pack of an import, by its number."""

    ref: ImportRef
    pack: int


class Claimed(Model):
    """Documents in the pack, and those that still wait; `closed` where the import was cancelled or ended."""

    documents: int
    left: int
    closed: bool = False


class PackPlanned(Model):
    """A pack's plan: its digest names the blob. `released` documents go on in runs of their own."""

    plan: str
    documents: int
    chunks: int
    released: int = 0


class EmbedPack(Model):
    """A pack with the plan that is to be embedded."""

    ref: ImportRef
    pack: int
    plan: str


class PackPublished(Model):
    """Documents that this attempt published, and the model calls that it made."""

    documents: int
    model_calls: int
    released: int = 0


class ImportSettled(Model):
    """Whether the import is complete; else how many documents wait for a pack, and how many are under way."""

    done: bool
    packable: int = 0
    under_way: int = 0


class EndImport(Model):
    """How an import that is not complete ends."""

    ref: ImportRef
    cancelled: bool
    code: str
    message: str


BEGIN_IMPORT = Step("begin_import", ImportRef, ImportBegun, Queue.CHAT, policy.DATABASE, "Take it up", local=True)
UNPACK = Step("unpack_archive", ImportRef, Unpacked, Queue.INGEST_CPU, policy.UNPACK, "Unpack the archive")
RETRY_PARKED = Step("retry_parked", ImportRef, Done, Queue.CHAT, policy.PURGE, "Tell parked documents to try again")
CLAIM_PACK = Step("claim_pack", PackRef, Claimed, Queue.CHAT, policy.DATABASE, "Choose the next pack", local=True)
EXTRACT_PACK = Step("extract_pack", PackRef, PackPlanned, Queue.INGEST_CPU, policy.EXTRACT, "Read and split a pack")
EMBED_PACK = Step("embed_pack", EmbedPack, PackPublished, Queue.MODELS, policy.EMBED, "Embed and publish a pack")
RELEASE_PACK = Step("release_pack", PackRef, Done, Queue.CHAT, policy.DATABASE, "Give documents own runs", local=True)
SETTLE_IMPORT = Step(
    "settle_import", ImportRef, ImportSettled, Queue.CHAT, policy.DATABASE, "See what is left to do", local=True
)
END_IMPORT = Step("end_import", EndImport, Done, Queue.CHAT, policy.PURGE, "Close what is not finished")


# Turns


class TurnRef(Model):
    """What every step of a turn is given."""

    owner_id: UserId
    bot_id: BotId
    conversation_id: ConversationId
    turn_id: TurnId


class AgentBounds(Model):
    """How far an agent may go; see `domain.bots.AgentConfiguration`."""

    max_steps: int
    max_tokens: int
    max_seconds: int


class LoadedHistory(Model):
    """The window of earlier messages that the prompt will hold, and which further steps the turn needs.

    `agent` where tools are used, and how far. `title` asks for a name of the conversation beside the answer, in a step of
    its own; `answers_titled` for one in the step that streams the answer. `searches_understood` where the search puts the
    question into words first; runs of an older release have a step of its own for it, which `understand` asks for.
    """

    messages: int
    tokens: int
    summarize: bool = False
    title: bool = False
    understand: bool = False
    searches_understood: bool = False
    answers_titled: bool = False
    agent: AgentBounds | None = None


class Summarized(Model):
    """How many messages a new summary took in; none where an earlier attempt had stored it."""

    messages: int = 0


class Understood(Model):
    """How many queries are searched for."""

    queries: int = 1


class Retrieved(Model):
    """How many passages were found worth giving to the model; `unknown` where none is, and it is not asked."""

    passages: int
    unknown: bool = False
    rerank: bool = False
    """They are candidates yet, of which a model is to choose; then `relevance` is that of the best one."""
    relevance: float = 0.0


class RerankPassages(Model):
    """A turn whose candidates are to be put in order, and how relevant the best of them is."""

    ref: TurnRef
    relevance: float


class Reranked(Model):
    """How many passages are given to the model that answers."""

    passages: int


class Generated(Model):
    """The end of a generation; its text is in the turn's row."""

    input_tokens: int
    output_tokens: int


class PersistTurn(Model):
    """How a turn ends, and for a failed one why."""

    ref: TurnRef
    outcome: TurnOutcome
    code: str | None = None
    message: str | None = None


class Persisted(Model):
    """The answer that was stored; none where the turn is gone."""

    message_id: MessageId | None = None
    citations: int = 0


LOAD_HISTORY = Step(
    "load_history", TurnRef, LoadedHistory, Queue.CHAT, policy.DATABASE, "Choose the history window", local=True
)
SUMMARIZE_HISTORY = Step(
    "summarize_history", TurnRef, Summarized, Queue.MODELS, policy.SUMMARIZE, "Summarise what was said", try_cancel=True
)
TITLE = Step("title", TurnRef, Done, Queue.MODELS, policy.TITLE, "Name the conversation", try_cancel=True)
UNDERSTAND_QUESTION = Step(
    "understand_question",
    TurnRef,
    Understood,
    Queue.MODELS,
    policy.UNDERSTAND,
    "Understand the question",
    try_cancel=True,
)
RETRIEVE = Step("retrieve", TurnRef, Retrieved, Queue.MODELS, policy.RETRIEVE, "Find passages")
UNDERSTAND_AND_RETRIEVE = Step(
    "understand_and_retrieve",
    TurnRef,
    Retrieved,
    Queue.MODELS,
    policy.UNDERSTAND_AND_RETRIEVE,
    "Understand the question, find passages",
    try_cancel=True,
)
RERANK = Step("rerank", RerankPassages, Reranked, Queue.MODELS, policy.RERANK, "Put passages in order", try_cancel=True)
GENERATE = Step("generate", TurnRef, Generated, Queue.MODELS, policy.GENERATE, "Stream the answer", try_cancel=True)
GENERATE_TITLED = Step(
    "generate_titled",
    TurnRef,
    Generated,
    Queue.MODELS,
    policy.GENERATE,
    "Stream the answer, name the conversation",
    try_cancel=True,
)
DECLINE = Step("decline", TurnRef, Done, Queue.CHAT, policy.DATABASE, "Say that it does not know", local=True)
PERSIST = Step("persist", PersistTurn, Persisted, Queue.CHAT, policy.DATABASE, "Store the answer", local=True)


# Agents


class ModelStepRef(Model):
    """One step of an agent, by its number; with the `last` one the model is to answer with what it has."""

    ref: TurnRef
    number: int
    last: bool = False


class PlannedCall(Model):
    """A tool call that is to be run, by its number within its step."""

    number: int
    tool: ToolType
    needs_approval: bool = False


class ModelStepped(Model):
    """What a model step asked for. Without calls and with `answered` its text is the turn's draft."""

    answered: bool
    calls: tuple[PlannedCall, ...] = ()
    tokens: int = 0


class CallRef(Model):
    """One tool call."""

    ref: TurnRef
    step: int
    number: int


class Decisions(Model):
    """What people decided about a step's calls: numbers of those that may run, and how many still wait."""

    approved: tuple[int, ...] = ()
    waiting: int = 0


class Consultation(Model):
    """The turn in which another bot is asked; none where the call has ended."""

    turn: TurnRef | None = None


class SettleCall(Model):
    """How a call ends that its own step did not end."""

    call: CallRef
    code: str
    message: str


class CallEnded(Model):
    """The end of a tool call; its result is in its row."""

    status: CallStatus


MODEL_STEP = Step(
    "model_step", ModelStepRef, ModelStepped, Queue.MODELS, policy.GENERATE, "Ask the model", try_cancel=True
)
SEARCH_DOCUMENTS = Step(
    "search_documents", CallRef, CallEnded, Queue.MODELS, policy.TOOL, "Search the documents", try_cancel=True
)
SQL_QUERY = Step("sql_query", CallRef, CallEnded, Queue.MODELS, policy.TOOL, "Query a database", try_cancel=True)
HTTP_REQUEST = Step("http_request", CallRef, CallEnded, Queue.MODELS, policy.TOOL, "Send a request", try_cancel=True)
MCP_CALL = Step("mcp_call", CallRef, CallEnded, Queue.MODELS, policy.TOOL, "Call a server's tool", try_cancel=True)
OPEN_CONSULTATION = Step(
    "open_consultation", CallRef, Consultation, Queue.CHAT, policy.DATABASE, "Ask another bot", local=True
)
CLOSE_CONSULTATION = Step(
    "close_consultation", CallRef, CallEnded, Queue.CHAT, policy.DATABASE, "Take its answer", local=True
)
READ_DECISIONS = Step(
    "read_decisions", ModelStepRef, Decisions, Queue.CHAT, policy.DATABASE, "See what was decided", local=True
)
SETTLE_CALL = Step("settle_call", SettleCall, CallEnded, Queue.CHAT, policy.DATABASE, "End a tool call", local=True)


# Crawls


class Surveyed(Model):
    """Pages that were known when the site had been looked at."""

    pages: int


class PagesFetched(Model):
    """Pages that the step settled, and those that still wait."""

    settled: int
    waiting: int


class CloseCrawl(Model):
    """How a crawl ends, and for a failed one why."""

    ref: CrawlRef
    outcome: CrawlStatus
    code: str | None = None
    message: str | None = None


BEGIN_CRAWL = Step("begin_crawl", CrawlRef, Done, Queue.CHAT, policy.DATABASE, "Take the crawl up", local=True)
SURVEY_SITE = Step("survey_site", CrawlRef, Surveyed, Queue.WEB, policy.SURVEY, "Read robots.txt and sitemaps")
FETCH_PAGES = Step("fetch_pages", CrawlRef, PagesFetched, Queue.WEB, policy.FETCH, "Fetch pages for a minute")
CLOSE_CRAWL = Step("close_crawl", CloseCrawl, Done, Queue.CHAT, policy.DATABASE, "Close the crawl", local=True)


# Deletion


class DeletionRef(Model):
    """A deletion of a document, or of a bot with all that is in it."""

    owner_id: UserId
    bot_id: BotId
    document_id: DocumentId | None = None


class Purged(Model):
    """What a deletion removed so far, all its purges together, and whether more is left."""

    documents: int
    chunks: int
    more: bool = False


STOP_INGESTION = Step(
    "stop_ingestion", DeletionRef, Done, Queue.CHAT, policy.PURGE, "Cancel the document's ingestion and await its end"
)
PURGE_DOCUMENT = Step("purge_document", DeletionRef, Purged, Queue.CHAT, policy.PURGE, "Delete chunks, blobs and row")
PURGE_BOT = Step("purge_bot", DeletionRef, Purged, Queue.CHAT, policy.PURGE, "Delete the bot's documents and talk")


# Indexes of large bots


class IndexRef(Model):
    """A bot whose index is looked after."""

    owner_id: UserId
    bot_id: BotId


class IndexPlanned(Model):
    """What there is to do for a bot of so many chunks."""

    chunks: int
    drop: bool = False
    build_vectors: bool = False
    index_keywords: bool = False


class KeywordsIndexed(Model):
    """Segments that this attempt wrote, and chunks in them."""

    segments: int
    chunks: int


class CloseIndex(Model):
    """How the run ended; one that is `valid` is used from now on."""

    ref: IndexRef
    state: IndexState
    code: str | None = None
    message: str | None = None


PLAN_INDEX = Step(
    "plan_index", IndexRef, IndexPlanned, Queue.CHAT, policy.DATABASE, "See what the bot's index needs", local=True
)
BUILD_VECTOR_INDEX = Step(
    "build_vector_index", IndexRef, Done, Queue.CHAT, policy.INDEX, "Build the bot's vector index beside all writes"
)
INDEX_KEYWORDS = Step(
    "index_keywords", IndexRef, KeywordsIndexed, Queue.INGEST_CPU, policy.INDEX, "Write postings of the bot's keywords"
)
CLOSE_INDEX = Step("close_index", CloseIndex, Done, Queue.CHAT, policy.INDEX, "Use the index, or clear it away")
DROP_INDEX = Step("drop_index", IndexRef, Done, Queue.CHAT, policy.INDEX, "Drop the bot's index")


# Housekeeping


class HousekeepingTick(Model):
    """How old something must be before housekeeping touches it."""

    grace: timedelta = timedelta(seconds=15)


class Swept(Model):
    """How many rows housekeeping put right."""

    count: int


SWEEP_PENDING = Step(
    "sweep_pending", HousekeepingTick, Swept, Queue.CHAT, policy.HOUSEKEEPING, "Start what a crash left pending"
)
CLOSE_ORPHANS = Step(
    "close_orphans", HousekeepingTick, Swept, Queue.CHAT, policy.HOUSEKEEPING, "Close rows whose workflow is gone"
)
EXPIRE = Step("expire", HousekeepingTick, Swept, Queue.CHAT, policy.HOUSEKEEPING, "Expire turn events and tokens")

# Mypy takes a step of one model for no step of models; whoever walks the list only reads.
STEPS: tuple[Step[Model, Model], ...] = (
    BEGIN_INGESTION, EXTRACT, RECOGNIZE, RECOGNIZE_LOCALLY, KEEP_TEXT_PAGES, CHUNK, EMBED, PUBLISH, PARK,
    DISCARD_ARTIFACTS, DISCARD_CHUNKS, CLOSE_INGESTION,
    BEGIN_IMPORT, UNPACK, RETRY_PARKED, CLAIM_PACK, EXTRACT_PACK, EMBED_PACK, RELEASE_PACK, SETTLE_IMPORT, END_IMPORT,
    LOAD_HISTORY, SUMMARIZE_HISTORY, TITLE, UNDERSTAND_QUESTION, RETRIEVE, UNDERSTAND_AND_RETRIEVE, RERANK, GENERATE, GENERATE_TITLED, DECLINE, PERSIST,
    MODEL_STEP, SEARCH_DOCUMENTS, SQL_QUERY, HTTP_REQUEST, MCP_CALL, OPEN_CONSULTATION, CLOSE_CONSULTATION, READ_DECISIONS, SETTLE_CALL,
    BEGIN_CRAWL, SURVEY_SITE, FETCH_PAGES, CLOSE_CRAWL,
    STOP_INGESTION, PURGE_DOCUMENT, PURGE_BOT,
    PLAN_INDEX, BUILD_VECTOR_INDEX, INDEX_KEYWORDS, CLOSE_INDEX, DROP_INDEX,
    SWEEP_PENDING, CLOSE_ORPHANS, EXPIRE,
)  # type: ignore[assignment]  # see above  # fmt: skip
