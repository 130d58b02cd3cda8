"""All documents that want something of the model."""

from tests.redteam import addresses, forgeries, hidden, orders
from tests.redteam.injected import Injected

DOCUMENTS: list[Injected] = [*orders.DOCUMENTS, *hidden.DOCUMENTS, *forgeries.DOCUMENTS, *addresses.DOCUMENTS]
