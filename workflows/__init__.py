"""Deterministic orchestration. Imports the domain only."""

from workflows.deletion import DeleteBot, DeleteDocument
from workflows.housekeeping import Housekeeping
from workflows.ingestion import IngestDocument
from workflows.turn import AnswerTurn

WORKFLOWS = (IngestDocument, AnswerTurn, DeleteDocument, DeleteBot, Housekeeping)
