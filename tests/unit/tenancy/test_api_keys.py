"""A key authenticates its tenant until it is revoked; its scopes limit what it may do."""

import base64
import json
from dataclasses import replace

import pytest

from callback import clock
from callback.scopes import Scope
from callback.storage.table import Table
from callback.tenancy import api_keys
from callback.tenancy.api_keys import ApiKeyStore
from callback.tenancy.tenants import NoSuchTenant, TenantStore
from tests.support.build import NOON, at

PEPPER = "0123456789abcdef0123456789abcdef"
BOTH = frozenset(Scope)


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)


@pytest.fixture
def store(client):
    TenantStore(Table(client, "callbacks")).add_tenant("acme")
    return ApiKeyStore(Table(client, "callbacks"))


@pytest.fixture
def created(store):
    return api_keys.create_key(store, PEPPER, "acme", BOTH)


def bearer(key_id, secret):
    return f"Bearer {key_id}.{secret}"


def basic(key_id, secret):
    return "Basic " + base64.b64encode(f"{key_id}:{secret}".encode()).decode()


def authenticated(store, authorization, pepper=PEPPER):
    return api_keys.authenticate(store, pepper, authorization)


@pytest.mark.parametrize("header", [bearer, basic])
def test_a_key_is_accepted_as_bearer_and_as_basic(store, created, header):
    key, secret = created
    assert authenticated(store, header(key.key_id, secret)) == key
    scheme, _, rest = header(key.key_id, secret).partition(" ")
    assert authenticated(store, f"{scheme.upper()} {rest}") == key, "schemes are case-insensitive"
    assert (key.tenant, key.scopes, key.created_at) == ("acme", BOTH, NOON)


def test_a_secret_is_not_stored(client, created):
    key, secret = created
    rows = json.dumps(client.scan(TableName="callbacks")["Items"])
    assert key.key_id in rows
    assert secret not in rows
    assert secret not in repr(created[0])
    assert key.hash not in repr(key)


def test_the_stored_hash_gives_no_access_without_the_pepper(store, created):
    key, secret = created
    assert authenticated(store, bearer(key.key_id, secret), pepper=PEPPER[::-1]) is None
    assert authenticated(store, bearer(key.key_id, key.hash)) is None
    assert key.hash == api_keys.hash_of(PEPPER, key.key_id, secret)
    assert len(key.hash) == 64


def test_a_hash_is_valid_for_one_key_id_only(created):
    key, secret = created
    assert api_keys.hash_of(PEPPER, "key_another", secret) != key.hash


def refused_headers():
    good = ("key_1", "secret")
    b64 = base64.b64encode
    return {
        "nothing": None,
        "empty": "",
        "a scheme alone": "Bearer",
        "no scheme": "key_1.secret",
        "another scheme": "Digest key_1.secret",
        "no secret": "Bearer key_1.",
        "no id": "Bearer .secret",
        "no dot": "Bearer key_1secret",
        "two of them": f"{bearer(*good)},{bearer(*good)}",
        "a dot too many": "Bearer key_1.secret.secret",
        "not ASCII": "Bearer key_1.sécret",
        "full-width digits": "Bearer key_１.secret",
        "a newline": "Bearer key_1.sec\nret",
        "another row's name": "Bearer key_1#x.secret",
        "over-long": f"Bearer key_1.{'s' * 129}",
        "not base64": "Basic key_1:secret",
        "not base64 at all": "Basic é",
        "base64 with something else in it": "Basic !" + b64(b"key_1:secret").decode(),
        "not UTF-8": "Basic " + b64(b"key_1:\xff").decode(),
        "no colon": "Basic " + b64(b"key_1secret").decode(),
        "a colon too many": "Basic " + b64(b"key_1:secret:").decode(),
        "nothing in it": "Basic ",
    }


@pytest.mark.parametrize("name", refused_headers())
def test_a_malformed_key_is_refused_without_reading_the_table(name):
    assert api_keys.authenticate(None, PEPPER, refused_headers()[name]) is None


def test_a_wrong_secret_an_unknown_id_and_another_keys_secret_are_refused(store, created):
    key, secret = created
    other, others = api_keys.create_key(store, PEPPER, "acme", BOTH)
    assert authenticated(store, bearer(key.key_id, others)) is None
    assert authenticated(store, bearer(key.key_id, secret[:-1])) is None
    assert authenticated(store, bearer(key.key_id, secret + "x")) is None
    assert authenticated(store, bearer("key_unknown", secret)) is None
    assert authenticated(store, bearer(other.key_id, others)) == other


def test_an_unknown_id_takes_the_same_comparison_as_a_wrong_secret(store, monkeypatch):
    """Both take a read, a hash and a comparison of whole hashes."""
    compared = []
    digest = api_keys.hmac.compare_digest
    monkeypatch.setattr(
        api_keys.hmac, "compare_digest", lambda *pair: compared.append(pair) or digest(*pair)
    )
    assert authenticated(store, bearer("key_unknown", "secret")) is None
    ((computed, expected),) = compared
    assert computed == api_keys.hash_of(PEPPER, "key_unknown", "secret")
    assert len(computed) == len(expected)


def test_an_unknown_id_is_refused_even_if_its_hash_matches(store, monkeypatch):
    monkeypatch.setattr(api_keys, "hash_of", lambda *_: api_keys._NOBODYS_HASH)
    assert authenticated(store, bearer("key_unknown", "secret")) is None


def test_two_keys_are_valid_until_the_old_one_is_revoked(store, created, monkeypatch):
    old, old_secret = created
    new, new_secret = api_keys.create_key(store, PEPPER, "acme", BOTH)
    assert authenticated(store, bearer(old.key_id, old_secret))
    assert authenticated(store, bearer(new.key_id, new_secret))

    monkeypatch.setattr(clock, "now", lambda: at(60))
    store.revoke(old.key_id)
    assert authenticated(store, bearer(old.key_id, old_secret)) is None
    assert authenticated(store, bearer(new.key_id, new_secret))
    monkeypatch.setattr(clock, "now", lambda: at(90))
    store.revoke(old.key_id)
    revoked = replace(old, revoked_at=at(60))
    assert set(store.list_keys("acme")) == {revoked, new}, "the first time counts"


def test_each_tenant_has_its_own_keys(client, store, created):
    TenantStore(Table(client, "callbacks")).add_tenant("other")
    other, _ = api_keys.create_key(store, PEPPER, "other", {Scope.READ})
    assert list(store.list_keys("acme")) == [created[0]]
    assert list(store.list_keys("other")) == [other]


def test_an_unknown_tenant_or_key_is_refused(store):
    with pytest.raises(NoSuchTenant):
        api_keys.create_key(store, PEPPER, "nobody", BOTH)
    with pytest.raises(NoSuchTenant):
        list(store.list_keys("nobody"))
    with pytest.raises(api_keys.NoSuchKey):
        store.revoke("key_unknown")
    assert store.get("key_unknown") is None
