"""Model providers behind the ports `Embedder` and `Generator`."""
