"""Rows, where DynamoDB is stricter than moto."""

import pytest

from callback import rows
from callback.deliveries import DeliveryStore
from callback.erasures import ErasureStore
from callback.errors import CallbackNotFound, DeliveryNotFound, ErasureNotFound
from callback.store import CallbackStore
from callback.tenants import TenantStore

ids = pytest.mark.parametrize(
    "too_long", ["x" * 3000, "x" * 2048, "\N{TELEPHONE SIGN}" * 700], ids=["3000", "2048", "bytes"]
)


class ValidationException(Exception):
    """A key longer than DynamoDB takes (Developer Guide, "Constraints")."""


@pytest.fixture(autouse=True)
def strict(client):
    """moto looks for a key of any length."""

    def look(params, **_):
        for name, longest in (("pk", 2048), ("sk", 1024)):
            if len(params["Key"][name]["S"].encode()) > longest:
                raise ValidationException(name)

    client.meta.events.register("provide-client-params.dynamodb.GetItem", look)


@ids
def test_nothing_has_an_id_that_is_too_long_for_a_key(client, too_long):
    with pytest.raises(ErasureNotFound):
        ErasureStore(client, "callbacks").get("acme", too_long)
    with pytest.raises(DeliveryNotFound):
        DeliveryStore(client, "callbacks").replay("acme", too_long)
    with pytest.raises(CallbackNotFound):
        CallbackStore(client, "callbacks").get(too_long)
    assert TenantStore(client, "callbacks").key(too_long) is None


@pytest.mark.parametrize(("pk", "sk"), [("x" * 2048, "x"), ("x", "x" * 1024)])
def test_a_key_as_long_as_it_may_be_is_found(client, pk, sk):
    key = rows.as_item((pk, sk))
    client.put_item(TableName="callbacks", Item=key)
    assert rows.get(client, "callbacks", key) == {"pk": pk, "sk": sk}
