"""The schema, as SQLAlchemy Core tables. `migrations/` brings a database to this state."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from adapters.postgres.vectors import HalfVector, SparseVector

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True)


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _updated() -> Column[object]:
    return Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _to(table: str, name: str, *, cascade: bool = True, nullable: bool = False) -> Column[object]:
    return Column(name, Uuid, ForeignKey(f"{table}.id", ondelete="CASCADE" if cascade else None), nullable=nullable)


# Accounts

users = Table(
    "users",
    metadata,
    _id(),
    Column("email", Text, nullable=False),  # lower case
    Column("username", Text),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("company_name", Text),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="owner"),
    Column("plan", Text, nullable=False, server_default="free"),
    _created(),
    _updated(),
    UniqueConstraint("email"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    _id(),
    _to("users", "user_id"),
    Column("family_id", Uuid, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),  # SHA-256
    _time("expires_at", nullable=False),
    _time("used_at"),
    _time("revoked_at"),
    _created(),
    UniqueConstraint("token_hash"),
    Index(None, "family_id"),
    Index(None, "user_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    _to("users", "user_id"),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),  # shown in lists, so that a person can tell keys apart
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256
    Column("scopes", ARRAY(Text), nullable=False),
    _time("expires_at"),
    _time("last_used_at"),
    _created(),
    UniqueConstraint("secret_hash"),
    Index(None, "user_id", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, primary_key=True),  # the owner's id, or "public"
    Column("key_hash", LargeBinary, primary_key=True),  # SHA-256
    Column("fingerprint", LargeBinary, nullable=False),  # SHA-256 of method, path and body
    Column("response", LargeBinary),  # encrypted under the raw key, which is not stored
    Column("turn_id", Uuid),  # of a message: the answer is rendered from the turn
    _created(),
    Index(None, "created_at"),
)

# Bots

bots = Table(
    "bots",
    metadata,
    _id(),
    _to("users", "owner_id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("welcome_message", Text, nullable=False, server_default=""),
    Column("model", Text),  # null: the deployment's default
    Column("temperature", Float, nullable=False, server_default="0.2"),
    Column("is_public", Boolean, nullable=False, server_default=text("false")),
    Column("status", Text, nullable=False, server_default="active"),
    Column("configuration", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("languages", ARRAY(Text), nullable=False, server_default=text("'{}'")),  # that its chunks are stemmed in
    Column(
        "metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")
    ),  # of a vector store: its client's own
    _time("deleting_at"),  # set: 404 from that moment
    _created(),
    _updated(),
    CheckConstraint("status in ('active', 'inactive', 'training', 'error')", name="status"),
    Index(None, "owner_id", "created_at", "id"),
)

# Documents

documents = Table(
    "documents",
    metadata,
    _id(),
    _to("users", "owner_id"),
    _to("bots", "bot_id"),
    Column("name", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("import_id", Uuid),  # the import that brought it
    Column("of_files", Boolean, nullable=False, server_default=text("false")),  # of OpenAI's API only: goes with them
    Column("source_url", Text),  # of a page that was fetched
    Column("etag", Text),
    Column("last_modified", Text),  # as the server wrote it
    _time("fetched_at"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # the owner's, to filter by
    # Of the newest accepted version; after its end without success, of the active one again:
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("encoding", Text),  # of a text: as asked for, or as detected
    Column("version", Integer, nullable=False, server_default="1"),
    Column("current_ingestion_id", Uuid, nullable=False),
    # Of what readers see:
    Column("active_ingestion_id", Uuid),
    Column("embedding_model", Text),
    Column("page_count", Integer),
    Column("chunk_count", Integer),
    Column("refused_chunks", Integer, nullable=False, server_default="0"),  # without a vector
    _time("ready_at"),
    # Of what runs:
    Column("status", Text, nullable=False, server_default="pending"),
    Column("stage", Text),
    _time("stage_started_at"),
    Column("stage_done", Integer, nullable=False, server_default="0"),  # pages or chunks done when it started
    Column("pages_done", Integer, nullable=False, server_default="0"),
    Column("pages_total", Integer),
    Column("chunks_done", Integer, nullable=False, server_default="0"),
    Column("chunks_total", Integer),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    CheckConstraint(
        "status in ('pending', 'processing', 'needs_attention', 'ready', 'failed', 'cancelled', 'deleting')",
        name="status",
    ),
    Index(None, "bot_id", "created_at", "id"),
    Index("ix_documents_metadata", "metadata", postgresql_using="gin",
          postgresql_ops={"metadata": "jsonb_path_ops"}),
    Index("ix_documents_import_id", "import_id", "id", postgresql_where=text("import_id is not null")),
    Index("uq_documents_source_url", "bot_id", "source_url", unique=True,
          postgresql_where=text("source_url is not null and status <> 'deleting'")),
    Index("ix_documents_unfinished", "status", "updated_at",
          postgresql_where=text("status in ('pending', 'processing', 'needs_attention')")),
)  # fmt: skip

document_contents = Table(
    "document_contents",  # the same bytes are one document of a bot: its active and its newest version's
    metadata,
    Column("bot_id", Uuid, primary_key=True),
    Column("sha256", Text, primary_key=True),
    _to("documents", "document_id"),
    Index(None, "document_id"),
)

ingestions = Table(
    "ingestions",
    metadata,
    _id(),
    _to("documents", "document_id"),
    Column("owner_id", Uuid, nullable=False),
    Column("bot_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("epoch", Integer, nullable=False, server_default="1"),  # runs started; a write carries it
    Column("status", Text, nullable=False, server_default="pending"),
    Column("format", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("import_id", Uuid),  # whose run ingests it, in packs; null: a run of its own
    Column("pack", Integer),
    Column("encoding", Text),  # asked for by the uploader; null: detect it
    Column("detected_encoding", Text),
    Column("keep_text_pages", Boolean, nullable=False, server_default=text("false")),  # go on without the others
    Column("pages_without_text", ARRAY(Integer)),
    Column("pages_recognized", Integer, nullable=False, server_default="0"),
    Column("pages", Integer),
    Column("characters", BigInteger),
    Column("planned_chunks", Integer),
    Column("stored_chunks", Integer, nullable=False, server_default="0"),
    Column("reused_chunks", Integer, nullable=False, server_default="0"),  # whose vector another chunk had
    Column("refused_chunks", Integer, nullable=False, server_default="0"),  # that the model would not embed
    Column("shards", Integer),
    Column("plan_digest", LargeBinary),  # SHA-256 of the planned chunks; with model and batch size it names the plan
    Column("embedding_model", Text),
    Column("batch_size", Integer),
    Column("model_calls", Integer, nullable=False, server_default="0"),  # whose result is stored
    Column("model_calls_needed", Integer),
    Column("model_tokens", BigInteger, nullable=False, server_default="0"),
    Column("run_id", Text),
    _time("cancel_requested_at"),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    _time("started_at"),
    _time("finished_at"),
    UniqueConstraint("document_id", "version"),
    CheckConstraint(
        "status in ('pending', 'running', 'parked', 'published', 'retired', 'failed', 'cancelled')", name="status"
    ),
    Index("ix_ingestions_unwanted", "cancel_requested_at", postgresql_where=text("cancel_requested_at is not null")),
    Index("ix_ingestions_running", "owner_id", postgresql_where=text("status = 'running' and import_id is null")),
    Index(
        "ix_ingestions_line",
        "owner_id",
        "created_at",
        "id",
        postgresql_where=text("status = 'pending' and import_id is null"),
    ),
    Index("ix_ingestions_import", "import_id", "status", postgresql_where=text("import_id is not null")),
)

ingestion_steps = Table(
    "ingestion_steps",
    metadata,
    _to("ingestions", "ingestion_id"),
    Column("step", Text, nullable=False),
    Column("part", Integer, nullable=False, server_default="0"),  # shard of an embed step
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),  # running | completed | failed (the last attempt)
    Column("seconds", Float, nullable=False, server_default="0"),  # of all attempts together
    Column("error_code", Text),
    Column("error_message", Text),
    Column("sequence", BigInteger, nullable=False, server_default="0"),  # of the last attempt counted
    Column("activity_id", Text),  # of a shard's step, so that the workflow engine's word of it is told from another's
    Column("model_calls", Integer, nullable=False, server_default="0"),  # whose result is stored
    Column("model_calls_needed", Integer),
    Column("model_tokens", BigInteger, nullable=False, server_default="0"),
    _time("first_started_at", nullable=False),
    _time("finished_at"),
    UniqueConstraint("ingestion_id", "step", "part"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("ingestion_id", Uuid, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("owner_id", Uuid, nullable=False),
    Column("bot_id", Uuid, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column("content", Text, nullable=False),
    Column("page_from", Integer),
    Column("page_to", Integer),
    Column("page_starts", ARRAY(Integer), nullable=False),  # where in the content the later pages start
    Column("char_start", Integer, nullable=False),
    Column("char_end", Integer, nullable=False),
    Column("heading_path", ARRAY(Text), nullable=False),
    Column("content_sha256", LargeBinary),  # of what is embedded: the same text of an owner is embedded once
    Column("embedding", HalfVector),  # null: the model refused the text; keywords still find it
    Column("embedding_error", Text),
    UniqueConstraint("id"),
    Index(None, "bot_id"),
    Index(None, "document_id"),
    Index("ix_chunks_owner_id_content_sha256", "owner_id", "content_sha256",
          postgresql_where=text("content_sha256 is not null")),
)  # fmt: skip

chunk_keywords = Table(
    "chunk_keywords",  # apart from the chunks, so that each arm of the search reads no more than it needs
    metadata,
    Column("ingestion_id", Uuid, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("keywords", SparseVector, nullable=False),  # as `adapters/postgres/keywords.py` writes them
    ForeignKeyConstraint(["ingestion_id", "ordinal"], ["chunks.ingestion_id", "chunks.ordinal"], ondelete="CASCADE"),
)

# Indexes of large bots

bot_indexes = Table(
    "bot_indexes",  # of vectors, a partial index of `chunks` that is named for the bot
    metadata,
    Column("bot_id", Uuid, primary_key=True),  # the bot may be gone: the row goes after its index
    Column("owner_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("chunks", Integer, nullable=False),  # of the bot, when its index was decided on last
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    _time("valid_at"),
    CheckConstraint("state in ('building', 'valid', 'dropping', 'failed', 'cancelled')", name="state"),
)

keyword_segments = Table(
    "keyword_segments",  # postings of some of a bot's versions; never changed, only replaced
    metadata,
    _id(),
    Column("bot_id", Uuid, ForeignKey("bot_indexes.bot_id", ondelete="CASCADE"), nullable=False),
    Column("chunks", Integer, nullable=False),
    _created(),
    Index(None, "bot_id"),
)

keyword_segment_versions = Table(
    "keyword_segment_versions",
    metadata,
    Column("ingestion_id", Uuid, primary_key=True),
    _to("keyword_segments", "segment_id"),
    Column("first", Integer, nullable=False),  # number of its first chunk in the segment
    Column("chunks", Integer, nullable=False),
    Index(None, "segment_id"),
)

keyword_postings = Table(
    "keyword_postings",
    metadata,
    _to("keyword_segments", "segment_id"),
    Column("bucket", Integer, nullable=False),
    Column("packed", LargeBinary, nullable=False),  # as `adapters/postgres/postings.py` writes them
    PrimaryKeyConstraint("segment_id", "bucket"),
)

# Imports: many files at once

imports = Table(
    "imports",
    metadata,
    _id(),
    _to("users", "owner_id"),
    _to("bots", "bot_id"),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # of each of its documents
    Column("archive", Boolean, nullable=False, server_default=text("false")),  # its members are yet to be unpacked
    Column("epoch", Integer, nullable=False, server_default="1"),  # runs started
    Column("packs", Integer, nullable=False, server_default="0"),  # taken up so far
    Column("run_id", Text),
    _time("cancel_requested_at"),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    _time("finished_at"),
    CheckConstraint("status in ('pending', 'unpacking', 'running', 'complete', 'failed', 'cancelled')", name="status"),
    Index(None, "bot_id", "created_at", "id"),
    Index(
        "ix_imports_unfinished", "updated_at", postgresql_where=text("status in ('pending', 'unpacking', 'running')")
    ),
)

import_items = Table(
    "import_items",  # a file that was given, whatever became of it
    metadata,
    _to("imports", "import_id"),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("outcome", Text, nullable=False),
    Column("document_id", Uuid),  # that it became, or that had the same bytes already
    Column("error_code", Text),
    Column("error_message", Text),
    PrimaryKeyConstraint("import_id", "position"),
    CheckConstraint("outcome in ('accepted', 'duplicate', 'refused')", name="outcome"),
)

# Crawls: the pages of a site

crawls = Table(
    "crawls",
    metadata,
    _id(),
    _to("users", "owner_id"),
    _to("bots", "bot_id"),
    Column("url", Text, nullable=False),
    Column("mode", Text, nullable=False, server_default="auto"),
    Column("max_pages", Integer, nullable=False),
    Column("max_depth", Integer, nullable=False),
    # Of the run that looked at the site last:
    Column("scope_url", Text),  # where the crawl's URL ended: the pages are those under it
    Column("follow_links", Boolean),
    Column("robots", Text),  # the site's robots.txt
    Column("status", Text, nullable=False, server_default="pending"),
    Column("epoch", Integer, nullable=False, server_default="1"),  # runs started
    Column("run_id", Text),
    _time("cancel_requested_at"),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    _time("finished_at"),
    CheckConstraint("mode in ('auto', 'sitemap', 'links')", name="mode"),
    CheckConstraint("status in ('pending', 'running', 'complete', 'failed', 'cancelled')", name="status"),
    Index(None, "bot_id", "created_at", "id"),
    Index("ix_crawls_unfinished", "updated_at", postgresql_where=text("status in ('pending', 'running')")),
)

crawl_pages = Table(
    "crawl_pages",
    metadata,
    _id(),
    _to("crawls", "crawl_id"),
    Column("url", Text, nullable=False),  # normalised
    Column("depth", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="found"),
    Column("epoch", Integer, nullable=False, server_default="0"),  # of the run that fetched it last
    Column("http_status", Integer),
    Column("document_id", Uuid),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    UniqueConstraint("crawl_id", "url"),
    CheckConstraint("state in ('found', 'fetched', 'unchanged', 'moved', 'refused', 'failed', 'gone')", name="state"),
    Index(None, "crawl_id", "epoch", "depth", "id"),
)

# Providers

provider_budgets = Table(
    "provider_budgets",  # what all workers together may ask of a model; a row comes with the first call
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests_per_minute", Float),  # learnt from refusals; null: what is configured holds
    Column("tokens_per_minute", Float),
    _time("requests_free_at"),  # when the next request may go, had nobody a share in advance
    _time("tokens_free_at"),
    _time("paused_until"),  # as the provider asked
    _time("lowered_at"),
    _time("raised_at"),
    Column("requests_seen", Float, nullable=False, server_default="0"),  # of the last minute, fading
    Column("tokens_seen", Float, nullable=False, server_default="0"),
    _updated(),  # with each count: what was seen fades from here
)

# Conversations

conversations = Table(
    "conversations",
    metadata,
    _id(),
    _to("users", "owner_id"),
    _to("bots", "bot_id"),
    Column("title", Text),
    Column("origin", Text, nullable=False, server_default="api"),  # the door that it came in by
    Column("title_by", Text),  # question | model | person; null: nobody yet, or with a title a person
    Column("title_input_tokens", Integer, nullable=False, server_default="0"),
    Column("title_output_tokens", Integer, nullable=False, server_default="0"),
    _created(),
    _updated(),
    Index(None, "bot_id", "created_at", "id"),
)

turns = Table(
    "turns",
    metadata,
    _id(),
    Column("owner_id", Uuid, nullable=False),
    Column("bot_id", Uuid, nullable=False),
    _to("conversations", "conversation_id"),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("question_id", Uuid, nullable=False),
    Column("answer_id", Uuid),
    Column("filter", JSONB),  # which documents may answer; null: all
    Column("options", JSONB(none_as_null=True)),  # what the question asks for beside its bot's settings; null: nothing
    Column("history_from", BigInteger),  # position of the first message of the window; null: none
    Column("summary_until", Uuid),  # the message that the summary before the window ends with; null: none
    Column("attempt", Integer, nullable=False, server_default="0"),  # of the generation that may write
    Column("run_id", Text),  # of the workflow that answers
    Column("run_attempt", Integer, nullable=False, server_default="0"),  # `domain.runs.attempt_number`, within that run
    Column("depth", SmallInteger, nullable=False, server_default="0"),  # of agents that ask agents
    Column("last_sequence", BigInteger, nullable=False, server_default="0"),
    Column("queries", ARRAY(Text)),  # what is searched for; null: the question as it was asked
    Column("side_calls", JSONB, nullable=False, server_default="[]"),  # model calls beside the answer, and their tokens
    Column("cut_off", Boolean, nullable=False, server_default=text("false")),  # the answer's tokens were spent
    Column("draft", Text),  # a finished generation's text, until it is persisted
    Column("model", Text),
    Column("input_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    Column("error_code", Text),
    Column("error_message", Text),
    _created(),
    _updated(),
    _time("finished_at"),
    CheckConstraint("status in ('pending', 'running', 'complete', 'partial', 'failed')", name="status"),
    Index(None, "conversation_id", "created_at"),
    Index("uq_turns_running", "conversation_id", unique=True,
          postgresql_where=text("status in ('pending', 'running')")),
    Index("ix_turns_unfinished", "updated_at", postgresql_where=text("status in ('pending', 'running')")),
)  # fmt: skip

messages = Table(
    "messages",
    metadata,
    _id(),
    _to("conversations", "conversation_id"),
    Column("position", BigInteger, nullable=False),  # 1, 2, 3, … in the conversation
    # The message that this one follows, of the first of a branch the conversation; null: the message before.
    Column("parent_id", Uuid),
    Column("turn_id", Uuid, nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="complete"),
    Column("citations", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("model", Text),
    Column("input_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    Column("rating", Text),  # of an answer, by the owner; null: none yet
    Column("feedback_comment", Text),
    _created(),
    UniqueConstraint("conversation_id", "position"),
    CheckConstraint("status in ('complete', 'partial', 'failed')", name="status"),
    CheckConstraint("rating in ('up', 'down')", name="rating"),
)

summaries = Table(
    "summaries",  # of all that was said from the beginning of a branch to a message
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("content", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    _created(),
)

turn_passages = Table(
    "turn_passages",
    metadata,
    Column("turn_id", Uuid, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("marker", SmallInteger, primary_key=True),
    Column("chunk_id", Uuid, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column("document_name", Text, nullable=False),
    Column("page", Integer),
    Column("page_starts", ARRAY(Integer), nullable=False),
    Column("heading_path", ARRAY(Text), nullable=False),
    Column("content", Text, nullable=False),  # as retrieved: the answer is checked against what the model saw
    Column("score", Float, nullable=False),
    Column("char_start", Integer),  # of the content, in the document's text; null: retrieved by an older release
    Column("later_chunks", ARRAY(Uuid), nullable=False, server_default="{}"),  # neighbours that are part of it
    Column("chunk_starts", ARRAY(Integer), nullable=False, server_default="{}"),  # of these, in the content
    Index(None, "document_id"),
)

agent_steps = Table(
    "agent_steps",  # of an agent's turn: what the model said before it answered
    metadata,
    Column("turn_id", Uuid, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("run_id", Text, nullable=False),  # who writes it, as of a turn
    Column("run_attempt", Integer, nullable=False),
    Column("text", Text, nullable=False, server_default=""),
    Column("input_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    _created(),
    _time("finished_at"),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("turn_id", Uuid, primary_key=True),
    Column("step", SmallInteger, primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("model_call_id", Text, nullable=False),  # as the provider named it
    Column("signature", Text),  # of the provider, which wants it back
    Column("name", Text, nullable=False),  # as the model wrote it
    Column("arguments", JSONB, nullable=False),
    Column("tool", Text),  # null: there is no such tool
    Column("status", Text, nullable=False, server_default="planned"),
    Column("run_id", Text),
    Column("run_attempt", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("result", Text, nullable=False, server_default=""),  # what the model is told
    Column("markers", ARRAY(SmallInteger), nullable=False, server_default=text("'{}'")),  # of passages that it is given
    Column("error_code", Text),
    Column("approval", SmallInteger),  # 1, 2, 3, … in the turn, where a person must allow it
    Column("approved", Boolean),
    Column("comment", Text),  # of that person
    _time("decided_at"),
    _created(),
    _time("started_at"),
    _time("finished_at"),
    ForeignKeyConstraint(["turn_id", "step"], ["agent_steps.turn_id", "agent_steps.number"], ondelete="CASCADE"),
    CheckConstraint(
        "status in ('planned', 'waiting', 'running', 'complete', 'failed', 'rejected', 'unknown')", name="status"
    ),
    Index("uq_tool_calls_approval", "turn_id", "approval", unique=True,
          postgresql_where=text("approval is not null")),
    Index("ix_tool_calls_decided", "decided_at",
          postgresql_where=text("status = 'waiting' and decided_at is not null")),
)  # fmt: skip

turn_events = Table(
    "turn_events",
    metadata,
    Column("turn_id", Uuid, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    _created(),
    Index(None, "created_at"),
)

connections = Table(
    "connections",  # that an owner's tools reach
    metadata,
    _id(),
    _to("users", "owner_id"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("host", Text),  # shown, so that a person can tell them apart
    Column("sealed", LargeBinary, nullable=False),  # what is secret, encrypted under the deployment's key
    Column("catalogue", JSONB),  # of a server of tools: what it offered when it was asked last
    _time("catalogued_at"),
    _created(),
    Index(None, "owner_id", "created_at", "id"),
)

# Files of OpenAI's API: bytes that wait to become documents

files = Table(
    "files",
    metadata,
    _id(),
    _to("users", "owner_id"),
    Column("name", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    _time("expires_at"),
    _created(),
    Index(None, "owner_id", "created_at", "id"),
    Index("ix_files_expires_at", "expires_at", postgresql_where=text("expires_at is not null")),
)

list_edges = Table(
    "list_edges",  # where deleted items stood
    metadata,
    Column("list_id", Uuid, primary_key=True),  # of the bot whose files are listed, else of the owner
    Column("item_id", Uuid, primary_key=True),
    _time("row_created_at", nullable=False),
    Column("row_id", Uuid, nullable=False),
    _created(),
    Index(None, "created_at"),
)

file_documents = Table(
    "file_documents",  # which document a file became in a bot
    metadata,
    Column("file_id", Uuid, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("bot_id", Uuid, primary_key=True),
    _to("documents", "document_id"),
    _created(),
    Index(None, "document_id"),
)

file_batches = Table(
    "file_batches",
    metadata,
    _id(),
    _to("users", "owner_id"),
    _to("bots", "bot_id"),
    _time("cancelled_at"),
    _created(),
)

file_batch_documents = Table(
    "file_batch_documents",
    metadata,
    Column("batch_id", Uuid, ForeignKey("file_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Uuid, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "document_id"),
)

# Deletions

deletions = Table(
    "deletions",
    metadata,
    _id(),  # of the document or bot that is deleted
    Column("owner_id", Uuid, nullable=False),
    Column("bot_id", Uuid, nullable=False),
    Column("document_id", Uuid),  # null: the whole bot
    Column("status", Text, nullable=False, server_default="pending"),
    Column("documents", Integer, nullable=False, server_default="0"),
    Column("documents_total", Integer),
    Column("chunks", Integer, nullable=False, server_default="0"),
    Column("pages", Integer, nullable=False, server_default="0"),
    Column("blobs", Integer, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("conversations", Integer, nullable=False, server_default="0"),
    _created(),
    _updated(),
    _time("started_at"),
    _time("finished_at"),
    CheckConstraint("status in ('pending', 'complete')", name="status"),
    Index("ix_deletions_pending", "updated_at", postgresql_where=text("status = 'pending'")),
)
