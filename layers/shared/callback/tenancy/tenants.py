"""Whose API key is it? Tenants, their keys, and how a key proves itself.

A key is an id, which anybody may see, and a secret, which is shown once, when it is made. What
is stored is HMAC-SHA256 of both under a pepper that lies elsewhere (SSM Parameter Store), so that
neither the table nor a backup of it lets anybody in.

Rows, in the table of the callbacks:

* `APIKEY#<id>`: whose it is, what it may do, the hash. A revoked key stays, marked as such;
* `TENANT-SETTINGS#<tenant>`: one row for the tenant, and one naming each of its keys;
* `TENANTS`: one row naming each tenant.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from aws_lambda_powertools.utilities.parameters import SSMProvider

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

_PEPPER_CACHE_SECONDS = 300
_SHORTEST_PEPPER = 32  # characters
_SECRET_BYTES = 32

# A tenant is part of keys in the table, where # separates.
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_KEY_ID = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_NOBODYS_HASH = "0" * 64
_LISTED_KEY = "APIKEY#"
_TENANTS = "TENANTS"


class InvalidTenant(ValueError):
    """Not a name that a tenant can have."""


class NoSuchTenant(LookupError):
    """No tenant has this name."""


class TenantExists(Exception):
    """There is a tenant of this name already."""


class NoSuchKey(LookupError):
    """No key has this id."""


class PepperTooShort(ValueError):
    """The pepper could be guessed; the message names its parameter."""


@dataclass(frozen=True)
class ApiKey:
    """`hash` is that of id and secret; a key with `revoked_at` opens nothing."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    hash: str = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None = None


class Pepper:
    """The secret under which keys are hashed, by name from SSM Parameter Store."""

    def __init__(self, parameter_name: str, provider: SSMProvider) -> None:
        self._name = parameter_name
        self._provider = provider

    def get(self) -> str:
        """Raises PepperTooShort, and Powertools' GetParameterError."""
        pepper = str(self._provider.get(self._name, decrypt=True, max_age=_PEPPER_CACHE_SECONDS))
        if len(pepper) < _SHORTEST_PEPPER:
            raise PepperTooShort(f"{self._name} has less than {_SHORTEST_PEPPER} characters")
        return pepper


class TenantStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add_tenant(self, tenant: str) -> None:
        """Raises InvalidTenant, TenantExists."""
        if not _TENANT.fullmatch(tenant):
            raise InvalidTenant(f"{tenant!r}: use a-z, 0-9 and -, at most 63 of them.")
        row = {**key_row(settings_of(tenant)), "created_at": to_text(clock.now())}
        reasons = self._table.transact(put_row(row, ABSENT), put_row(key_row((_TENANTS, tenant))))
        if reasons is None:
            return
        if self._table.get(settings_of(tenant)) is None:
            raise TransactionCanceled(reasons)
        raise TenantExists(f"There is a tenant {tenant} already.")

    def tenants(self) -> list[str]:
        """Every tenant there is, by name."""
        return [row["sk"] for row in self._table.under(_TENANTS)]

    def add_key(self, key: ApiKey) -> None:
        """Raises NoSuchTenant."""
        row = {
            **key_row(_api_key_row(key.key_id)),
            "key_id": key.key_id,
            "tenant": key.tenant,
            "scopes": sorted(key.scopes),
            "hash": key.hash,
            "created_at": to_text(key.created_at),
        }
        listed = settings_of(key.tenant, f"{_LISTED_KEY}{key.key_id}")
        reasons = self._table.transact(
            check_row(settings_of(key.tenant), PRESENT),
            put_row(row, ABSENT),
            put_row(key_row(listed), ABSENT),
        )
        if reasons is not None:
            self.require(key.tenant)
            raise TransactionCanceled(reasons)

    def key(self, key_id: str) -> ApiKey | None:
        """Strongly consistent: a key that was revoked is seen as revoked."""
        row = self._table.get(_api_key_row(key_id))
        return _api_key(row) if row else None

    def keys(self, tenant: str) -> Iterator[ApiKey]:
        """Every key that the tenant ever had. Raises NoSuchTenant."""
        self.require(tenant)
        for row in self._table.under(*settings_of(tenant, _LISTED_KEY)):
            key = self.key(row["sk"].removeprefix(_LISTED_KEY))
            if key:
                yield key

    def revoke(self, key_id: str) -> None:
        """For good; once more changes nothing. Raises NoSuchKey."""
        revocation = Expression(
            "SET revoked_at = if_not_exists(revoked_at, :now)", {":now": to_text(clock.now())}
        )
        if not self._table.update(_api_key_row(key_id), revocation, PRESENT):
            raise NoSuchKey(f"There is no key {key_id}.")

    def require(self, tenant: str) -> None:
        """Raises NoSuchTenant."""
        if self._table.get(settings_of(tenant)) is None:
            raise NoSuchTenant(f"There is no tenant {tenant}.")


def create_key(
    store: TenantStore, pepper: str, tenant: str, scopes: Collection[Scope]
) -> tuple[ApiKey, str]:
    """A new key and its secret, which cannot be had again. Raises NoSuchTenant."""
    key_id = f"key_{secrets.token_hex(10)}"
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        key_id=key_id,
        tenant=tenant,
        scopes=frozenset(scopes),
        hash=hash_of(pepper, key_id, secret),
        created_at=clock.now(),
    )
    store.add_key(key)
    return key, secret


def authenticate(store: TenantStore, pepper: str, authorization: str | None) -> ApiKey | None:
    """The key that an Authorization header proves; None tells nothing about why not.

    An id that nobody has takes the same way as a wrong secret: a read, a hash, a comparison.
    """
    proof = _proof(authorization or "")
    if proof is None:
        return None
    key_id, secret = proof
    key = store.key(key_id)
    expected = key.hash if key else _NOBODYS_HASH
    is_right = hmac.compare_digest(hash_of(pepper, key_id, secret), expected)
    return key if key and is_right and key.revoked_at is None else None


def hash_of(pepper: str, key_id: str, secret: str) -> str:
    return hmac.digest(pepper.encode(), f"{key_id}:{secret}".encode(), "sha256").hex()


def _proof(authorization: str) -> tuple[str, str] | None:
    """(key id, secret) of `Bearer <id>.<secret>` (RFC 6750) or Basic `<id>:<secret>` (RFC 7617).

    None for anything that is no key of ours by its mere form.
    """
    scheme, _, given = authorization.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            key_id, _, secret = given.strip().partition(".")
        case "basic":
            try:
                key_id, _, secret = (
                    base64.b64decode(given.strip(), validate=True).decode().partition(":")
                )
            except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
                return None
        case _:
            return None
    if not (_KEY_ID.fullmatch(key_id) and _SECRET.fullmatch(secret)):
        return None
    return key_id, secret


def settings_of(tenant: str, what: str = "SETTINGS") -> Key:
    """The tenant's row; or the one, beside it, that names one of its things."""
    return f"TENANT-SETTINGS#{tenant}", what


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
