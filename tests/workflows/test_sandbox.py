"""What the runner leaves out is left out for nobody."""

from adapters.temporal.client import data_converter


def test_nothing_of_a_payload_depends_on_whose_it_is() -> None:
    converter = data_converter()
    assert converter.payload_codec is None
    assert converter.external_storage is None
