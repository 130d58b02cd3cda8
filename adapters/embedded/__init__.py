"""The servers of `make up`: Postgres with pgvector, Temporal with its Web UI, and who watches over them."""
