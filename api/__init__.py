"""The REST front end: authenticates, validates, commits, starts workflows. `api.main:create_app` builds it."""
