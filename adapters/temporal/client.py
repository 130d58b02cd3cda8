"""One factory for the client, so that every process shares converter and interceptors."""

from collections.abc import Sequence

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client, Interceptor
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig

OWNER_ID = SearchAttributeKey.for_keyword("OwnerId")
BOT_ID = SearchAttributeKey.for_keyword("BotId")
DOCUMENT_ID = SearchAttributeKey.for_keyword("DocumentId")
STAGE = SearchAttributeKey.for_keyword("Stage")
SEARCH_ATTRIBUTES = (OWNER_ID, BOT_ID, DOCUMENT_ID, STAGE)


def data_converter() -> DataConverter:
    """Give the converter that every client, worker and replayer uses."""
    return pydantic_data_converter


async def connect(interceptors: Sequence[Interceptor] = (), *, lazy: bool = False) -> Client:
    """Connect as `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY` and the TLS variables say.

    A lazy client connects on its first call, so that an API process starts while Temporal is down.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "127.0.0.1:7233")
    return await Client.connect(**config, data_converter=data_converter(), interceptors=interceptors, lazy=lazy)


async def ensure_search_attributes(client: Client) -> None:
    """Register the search attributes that are missing. Needs the right to do so on the namespace."""
    present = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in present.custom_attributes]
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
