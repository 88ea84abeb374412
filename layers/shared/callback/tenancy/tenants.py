"""Tenants.

Rows, in the table of the callbacks:

* `TENANT-SETTINGS#<tenant>`: one row for the tenant;
* `TENANTS`: one row for each tenant.
"""

import re

from callback import clock
from callback.lifecycle.models import to_text
from callback.storage.table import ABSENT, Key, Table, TransactionCanceled, key_row, put_row

# A tenant's name is part of the table's keys, in which # is the separator.
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_TENANTS = "TENANTS"


class InvalidTenant(ValueError):
    """The name is not valid for a tenant."""


class NoSuchTenant(LookupError):
    """No tenant has this name."""


class TenantExists(Exception):
    """A tenant of this name exists already."""


class TenantStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def add_tenant(self, tenant: str) -> None:
        """Raises InvalidTenant, TenantExists."""
        if not _TENANT.fullmatch(tenant):
            raise InvalidTenant(f"{tenant!r}: use a-z, 0-9 and -, 63 characters at most.")
        row = {**key_row(settings_key(tenant)), "created_at": to_text(clock.now())}
        reasons = self._table.transact(put_row(row, ABSENT), put_row(key_row((_TENANTS, tenant))))
        if reasons is None:
            return
        if self._table.get(settings_key(tenant)) is None:
            raise TransactionCanceled(reasons)
        raise TenantExists(f"There is a tenant {tenant} already.")

    def tenants(self) -> list[str]:
        """The names of all tenants, in alphabetical order."""
        return [row["sk"] for row in self._table.under(_TENANTS)]

    def require(self, tenant: str) -> None:
        """Raises NoSuchTenant if the tenant does not exist."""
        if self._table.get(settings_key(tenant)) is None:
            raise NoSuchTenant(f"There is no tenant {tenant}.")


def settings_key(tenant: str, what: str = "SETTINGS") -> Key:
    """The tenant's own row, or the row `what` beside it that lists a key or a number."""
    return f"TENANT-SETTINGS#{tenant}", what
