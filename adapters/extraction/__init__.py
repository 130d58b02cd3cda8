"""Reads documents in child processes that can be killed.

`extractor` runs in the worker; `zygote`, `child` and the readers run in processes of their own and
import neither Temporal nor SQLAlchemy nor pydantic, so that a fork is cheap and a crash is theirs.
"""
