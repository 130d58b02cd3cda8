"""Every workflow. Not in the package itself: the sandbox imports that anew for each run."""

from workflows.crawl import CrawlSite
from workflows.deletion import DeleteBot, DeleteDocument
from workflows.housekeeping import Housekeeping
from workflows.imports import ImportDocuments
from workflows.indexes import IndexBot
from workflows.ingestion import IngestDocument
from workflows.turn import AnswerTurn

WORKFLOWS = (IngestDocument, AnswerTurn, CrawlSite, DeleteDocument, DeleteBot, ImportDocuments, IndexBot, Housekeeping)
