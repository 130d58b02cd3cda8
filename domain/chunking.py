"""Chunks as values. Filled in beside the splitter."""
