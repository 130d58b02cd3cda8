"""Deterministic orchestration. Imports the domain only."""
