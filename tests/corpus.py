"""The shared corpus of real and hostile files, beside the checkout or where `CHATSPHERE_CORPUS` says. It is not ours to copy."""

import os
from pathlib import Path

import pytest

CORPUS = Path(os.environ.get("CHATSPHERE_CORPUS", Path(__file__).parents[2] / "shared" / "data")).resolve()


def needs_corpus(path: str = "") -> pytest.MarkDecorator:
    """Skip where the corpus, or this file of it, is not there."""
    wanted = CORPUS / path
    return pytest.mark.skipif(
        not wanted.exists(),
        reason=f"The shared corpus is not a part of the project, and {wanted} is not there: set CHATSPHERE_CORPUS to its folder",
    )
