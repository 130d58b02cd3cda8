"""Temporal: connection, search attributes, and starting of runs."""
