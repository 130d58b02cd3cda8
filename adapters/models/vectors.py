"""A provider's vectors: counted, measured, and brought to length one."""

from collections.abc import Sequence

import numpy as np

from domain.errors import ProviderMalformed
from domain.ports import Vectors


def unit_vectors(values: Sequence[Sequence[float] | None], *, count: int, width: int, who: str, model: str) -> Vectors:
    """Give the vectors of `count` texts. Raises `ProviderMalformed` where they are none."""
    if len(values) != count:
        raise ProviderMalformed(f"{who} answered {len(values)} vectors for {count} texts ({model}).")
    widths = {len(vector or ()) for vector in values}
    if widths != {width}:
        raise ProviderMalformed(
            f"{who} answered vectors of {', '.join(map(str, sorted(widths)))} dimensions where "
            f"{width} were asked for ({model}). CHATSPHERE_EMBEDDING_WIDTH must be one that the model has."
        )
    vectors = np.array(values, np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < 1e-9).any():
        raise ProviderMalformed(f"{who} answered a vector without a direction ({model}).")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit
