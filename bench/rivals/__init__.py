"""The same ingestion as others build it: LangChain, LlamaIndex, Haystack, BackgroundTasks and Celery.

`measure.py` runs them beside the bare pipeline and ChatSphere; `programs/` holds one file a rival, each a
process of its own on `.venv-rivals`, written as its library's documentation has it.
"""
