"""Errors carry a kind and a stable code; the edges translate them.

`api/errors.py` turns a kind into an HTTP status, `activities/interceptor.py` turns it into a
Temporal `ApplicationError` whose `type` is the code.
"""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """The `error.type` of the REST contract."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    PROVIDER = "provider"
    INTERNAL = "internal"


class DomainError(Exception):
    """A failure with a stable code and a sentence that says what is wrong and what to do.

    `message` is shown to people and stored in workflow histories: it never quotes a document,
    a prompt, an answer or a provider's text.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: timedelta | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.details = details or {}


# Requests


class InvalidRequest(DomainError):
    """A request that cannot be carried out as it stands."""

    kind, code = Kind.INVALID_REQUEST, "invalid_request"


class InvalidCursor(InvalidRequest):
    """An `after` that this list, or this stream, did not give out."""

    code = "invalid_cursor"


class ToolsUnsupported(InvalidRequest):
    """A bot with tools whose model takes none."""

    code = "tools_unsupported"


class ConnectionInvalid(InvalidRequest):
    """A connection that cannot be used as it is written."""

    code = "connection_invalid"


class EmptyFile(InvalidRequest):
    """An upload of no bytes."""

    code = "empty_file"


class Unauthenticated(DomainError):
    """No credential, or one that does not hold."""

    kind, code = Kind.AUTHENTICATION, "invalid_credentials"


class TokenExpired(Unauthenticated):
    """An access or refresh token past its time."""

    code = "token_expired"


class TokenReused(Unauthenticated):
    """A refresh token that was spent already; its family is revoked."""

    code = "refresh_token_reused"


class PermissionDenied(DomainError):
    """A credential that may not do this."""

    kind, code = Kind.PERMISSION, "permission_denied"


class NotFound(DomainError):
    """An id that never was, is gone, or is another owner's."""

    kind, code = Kind.NOT_FOUND, "not_found"


class Conflict(DomainError):
    """A request that the present state does not allow."""

    kind, code = Kind.CONFLICT, "conflict"


class StateConflict(Conflict):
    """An operation that the resource's status does not allow."""

    code = "invalid_state"


class AlreadyExists(Conflict):
    """A unique name, address or content that is taken."""

    code = "already_exists"


class IdempotencyKeyReused(Conflict):
    """The same `Idempotency-Key` with another request."""

    code = "idempotency_key_reused"


class IdempotencyInProgress(Conflict):
    """The first request with this `Idempotency-Key` is still being carried out."""

    code = "idempotency_in_progress"


class InvalidParent(InvalidRequest):
    """A message that is to follow a question, which only an answer follows."""

    code = "invalid_parent"


class TurnInProgress(Conflict):
    """A message sent while the conversation answers another; `details["turn_id"]` names it."""

    code = "turn_in_progress"


class PayloadTooLarge(DomainError):
    """More bytes than the deployment takes."""

    kind, code = Kind.PAYLOAD_TOO_LARGE, "payload_too_large"


class UnsupportedFormat(DomainError):
    """Content of a format that is not read, or not what its name says."""

    kind, code = Kind.UNSUPPORTED_MEDIA, "unsupported_format"


# Extraction


class InvalidInput(DomainError):
    """A document that cannot be read, however often it is tried."""

    kind, code = Kind.INVALID_REQUEST, "invalid_input"


class CorruptFile(InvalidInput):
    """A file that its own format's reader refuses."""

    code = "corrupt_file"


class CorruptArchive(InvalidInput):
    """An archive that cannot be read to its end."""

    code = "corrupt_archive"


class ArchiveLimit(InvalidInput):
    """An archive of more entries, or more bytes when it is unpacked, than is allowed."""

    code = "archive_limit"


class EncryptedFile(InvalidInput):
    """A file that opens with a password only."""

    code = "encrypted_file"


class NoText(InvalidInput):
    """A document without extractable text, for example a scan."""

    code = "no_text"


class UnreadableText(InvalidInput):
    """A document whose text layer is not language, for example a font without a character map."""

    code = "unreadable_text"


class ExtractionLimit(InvalidInput):
    """A document that needs more memory, time, pages or output than is allowed."""

    code = "extraction_limit"


class ArchiveTooLarge(InvalidInput):
    """An Office file or e-book whose parts inflate to more than is allowed, or are too many."""

    code = "archive_too_large"


class UnreadablePage(InvalidInput):
    """A page whose image cannot be drawn, or not be read to its end; the others may well be."""

    code = "unreadable_page"


class ExtractionCrashed(DomainError):
    """The extraction process died for a reason that is not the document's known fault."""

    kind, code, retryable = Kind.INTERNAL, "extraction_crashed", True


# Pages of the web


class UrlInvalid(InvalidRequest):
    """A URL that is not one, or of a form that is not fetched."""

    code = "url_invalid"


class UrlRefused(InvalidRequest):
    """A host without a public address, or unknown: which of both is not told."""

    code = "url_refused"


class FetchFailed(DomainError):
    """A page that did not come; `http_status` is the server's answer where it gave one."""

    kind, code = Kind.INVALID_REQUEST, "fetch_failed"

    def __init__(self, message: str, *, http_status: int | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message, param="url", retry_after=retry_after)
        self.http_status = http_status


class UrlUnreachable(FetchFailed):
    """A server that does not answer, breaks off, or answers what is no HTTP."""

    code, retryable = "url_unreachable", True


class UrlTimeout(FetchFailed):
    """A page that did not come in its time."""

    code, retryable = "url_timeout", True


class UrlTooLarge(FetchFailed):
    """A page of more bytes than are taken, as sent or as unpacked."""

    kind, code = Kind.PAYLOAD_TOO_LARGE, "url_too_large"


class UrlHttpError(FetchFailed):
    """A server that refuses the page; asking again does not help."""

    code = "url_http_error"


class UrlBusy(UrlHttpError):
    """A server that is in trouble or asks for a pause; `retry_after` says how long where it told."""

    code, retryable = "url_busy", True


class TooManyRedirects(FetchFailed):
    """A page that is always somewhere else."""

    code = "url_redirects"


class RobotsDisallowed(FetchFailed):
    """A page that the site's robots.txt forbids to fetch."""

    code = "robots_disallowed"


class NoSitemap(FetchFailed):
    """A site without a sitemap that names pages of the crawl."""

    code = "no_sitemap"


class CrawlClosed(DomainError):
    """A write for a crawl that has ended, runs again, or is deleted: the writer is late."""

    kind, code = Kind.CONFLICT, "crawl_closed"


# Ingestion


class IngestionClosed(DomainError):
    """A write for an ingestion that is finished, superseded or deleted: the writer is late."""

    kind, code = Kind.CONFLICT, "ingestion_closed"


class EmbeddingModelChanged(DomainError):
    """An ingestion begun with another embedding model than the worker has now."""

    kind, code = Kind.CONFLICT, "embedding_model_changed"


class IncompleteIngestion(DomainError):
    """Fewer chunks stored than planned when the document was to be published."""

    kind, code = Kind.INTERNAL, "incomplete_ingestion"


# Turns


class TurnClosed(DomainError):
    """A write for a turn that is finished, or that a later attempt took over."""

    kind, code = Kind.CONFLICT, "turn_closed"


# Tools


class SqlRefused(InvalidRequest):
    """SQL that is not one statement that reads. The message is for the model, and may name what it wrote."""

    code = "sql_refused"


class SqlFailed(InvalidRequest):
    """SQL that its database refused or did not answer in time."""

    code = "sql_failed"


class McpFailed(InvalidRequest):
    """A server of tools that cannot be reached, or breaks off."""

    code = "mcp_failed"


# Providers


class ProviderError(DomainError):
    """The model provider failed; trying again may help."""

    kind, code, retryable = Kind.PROVIDER, "provider_unavailable", True


class ProviderSilent(ProviderError):
    """The provider did not answer, or not go on, for as long as a call may take."""


class ProviderRateLimited(ProviderError):
    """The provider asks for a pause; `retry_after` says how long where it told."""

    kind, code = Kind.RATE_LIMIT, "provider_rate_limited"


class ProviderQuotaExhausted(ProviderRateLimited):
    """The quota of the day is used up; `retry_after` reaches to its reset."""

    kind, code = Kind.QUOTA, "quota_exhausted"


class ProviderRejected(ProviderError):
    """The provider refuses the request as it stands (400, 404)."""

    code, retryable = "provider_rejected", False


class ProviderInputRefused(ProviderRejected):
    """The provider refuses the request, and one of its texts may be the cause."""


class ProviderModelMissing(ProviderRejected):
    """The provider has no model of that name, or none any more."""


class ProviderNotConfigured(ProviderError):
    """A model of a provider that nobody knows, or that this deployment has no key for."""

    kind, code, retryable = Kind.INVALID_REQUEST, "provider_not_configured", False


class ProviderAuth(ProviderError):
    """The provider refuses the key (401, 403), or the project or the region that it is used in."""

    code, retryable = "provider_auth", False


class ProviderMalformed(ProviderError):
    """The provider's answer breaks its own format, or has the wrong count or width of vectors."""

    code = "provider_malformed"


class SafetyBlocked(ProviderError):
    """The provider declined to answer for safety."""

    code, retryable = "safety_blocked", False


# Dependencies


class Unavailable(DomainError):
    """A part that the service needs does not answer just now."""

    kind, code, retryable = Kind.INTERNAL, "unavailable", True
