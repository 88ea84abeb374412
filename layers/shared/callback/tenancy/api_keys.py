"""API keys, and the authentication of a request by a key.

A key consists of a public id and a secret, which is shown once, when the key is created. Stored is
HMAC-SHA256 of both under a pepper. The pepper is kept elsewhere (SSM Parameter Store), so that
neither the table nor a backup of it gives access.

Rows, in the table of the callbacks:

* `APIKEY#<id>`: the key's tenant, scopes and hash. A revoked key stays, marked as revoked;
* `TENANT-SETTINGS#<tenant>`: one row for each of the tenant's keys.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from callback import clock
from callback.lifecycle.models import to_text
from callback.scopes import Scope
from callback.storage.table import (
    ABSENT,
    PRESENT,
    Expression,
    Key,
    Row,
    Table,
    TransactionCanceled,
    check_row,
    key_row,
    put_row,
)
from callback.tenancy.tenants import TenantStore, settings_key

_SECRET_BYTES = 32

_KEY_ID = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_NOBODYS_HASH = "0" * 64
_LISTED_KEY = "APIKEY#"


class NoSuchKey(LookupError):
    """No key has this id."""


@dataclass(frozen=True)
class ApiKey:
    """`hash` covers id and secret. A key with `revoked_at` authenticates nothing."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    hash: str = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None = None


class ApiKeyStore:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._tenants = TenantStore(table)

    def add(self, key: ApiKey) -> None:
        """Raises NoSuchTenant."""
        row = {
            **key_row(_api_key_row(key.key_id)),
            "key_id": key.key_id,
            "tenant": key.tenant,
            "scopes": sorted(key.scopes),
            "hash": key.hash,
            "created_at": to_text(key.created_at),
        }
        list_key = settings_key(key.tenant, f"{_LISTED_KEY}{key.key_id}")
        reasons = self._table.transact(
            check_row(settings_key(key.tenant), PRESENT),
            put_row(row, ABSENT),
            put_row(key_row(list_key), ABSENT),
        )
        if reasons is not None:
            self._tenants.require(key.tenant)
            raise TransactionCanceled(reasons)

    def get(self, key_id: str) -> ApiKey | None:
        """Strongly consistent: a revocation is visible at once."""
        row = self._table.get(_api_key_row(key_id))
        return _api_key(row) if row else None

    def list_keys(self, tenant: str) -> Iterator[ApiKey]:
        """All keys of the tenant, with the revoked ones. Raises NoSuchTenant."""
        self._tenants.require(tenant)
        for row in self._table.under(*settings_key(tenant, _LISTED_KEY)):
            key = self.get(row["sk"].removeprefix(_LISTED_KEY))
            if key:
                yield key

    def revoke(self, key_id: str) -> None:
        """Revoke the key permanently. Doing so again changes nothing. Raises NoSuchKey."""
        revocation = Expression(
            "SET revoked_at = if_not_exists(revoked_at, :now)", {":now": to_text(clock.now())}
        )
        if not self._table.update(_api_key_row(key_id), revocation, PRESENT):
            raise NoSuchKey(f"There is no key {key_id}.")


def create_key(
    store: ApiKeyStore, pepper: str, tenant: str, scopes: Collection[Scope]
) -> tuple[ApiKey, str]:
    """A new key and its secret, which cannot be retrieved later. Raises NoSuchTenant."""
    key_id = f"key_{secrets.token_hex(10)}"
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        key_id=key_id,
        tenant=tenant,
        scopes=frozenset(scopes),
        hash=hash_of(pepper, key_id, secret),
        created_at=clock.now(),
    )
    store.add(key)
    return key, secret


def authenticate(store: ApiKeyStore, pepper: str, authorization: str | None) -> ApiKey | None:
    """The key that an Authorization header proves. None for every invalid one, whatever the reason.

    An unknown id takes the same steps as a wrong secret (a read, a hash, a comparison), so that
    the response time does not reveal which ids exist.
    """
    proof = _proof(authorization or "")
    if proof is None:
        return None
    key_id, secret = proof
    key = store.get(key_id)
    expected = key.hash if key else _NOBODYS_HASH
    is_right = hmac.compare_digest(hash_of(pepper, key_id, secret), expected)
    return key if key and is_right and key.revoked_at is None else None


def hash_of(pepper: str, key_id: str, secret: str) -> str:
    return hmac.digest(pepper.encode(), f"{key_id}:{secret}".encode(), "sha256").hex()


def _proof(authorization: str) -> tuple[str, str] | None:
    """(key id, secret) of `Bearer <id>.<secret>` (RFC 6750) or Basic `<id>:<secret>` (RFC 7617).

    None for anything that does not have the form of a key.
    """
    scheme, _, credentials = authorization.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            key_id, _, secret = credentials.strip().partition(".")
        case "basic":
            try:
                key_id, _, secret = (
                    base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
                )
            except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
                return None
        case _:
            return None
    if not (_KEY_ID.fullmatch(key_id) and _SECRET.fullmatch(secret)):
        return None
    return key_id, secret


def _api_key_row(key_id: str) -> Key:
    return f"APIKEY#{key_id}", "APIKEY"


def _api_key(row: Row) -> ApiKey:
    revoked_at = row.get("revoked_at")
    return ApiKey(
        key_id=row["key_id"],
        tenant=row["tenant"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        hash=row["hash"],
        created_at=datetime.fromisoformat(row["created_at"]),
        revoked_at=datetime.fromisoformat(revoked_at) if revoked_at else None,
    )
