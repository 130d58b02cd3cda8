"""`chatsphere`, the command line: a client of the REST API, and an operator's tools."""
