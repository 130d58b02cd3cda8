"""Benchmarks that a person can run: `make bench`. Ratios taken side by side in one run; absolute times vary."""
