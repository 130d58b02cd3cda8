"""One class a capability: fetch, ask the domain, store."""
