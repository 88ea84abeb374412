"""A tenant's name is a part of the table's keys, and belongs to one tenant."""

import pytest

from callback.storage.table import Table
from callback.tenancy.tenants import InvalidTenant, TenantExists, TenantStore


@pytest.fixture
def store(client):
    store = TenantStore(Table(client, "callbacks"))
    store.add_tenant("acme")
    return store


@pytest.mark.parametrize("name", ["", "a#b", "Acme", "a b", "-a", "a" * 64, "é", "a\n"])
def test_a_name_that_could_be_another_rows_is_refused(store, name):
    with pytest.raises(InvalidTenant):
        store.add_tenant(name)


def test_a_name_belongs_to_one_tenant(store):
    with pytest.raises(TenantExists):
        store.add_tenant("acme")
