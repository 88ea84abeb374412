"""Whom a tenant may not call, because they said so.

One row each, `SUPPRESSED#<tenant>#<hash>`, kept until they say otherwise. The hash is
HMAC-SHA256 of the address under the pepper: the row tells whether somebody whose number you have
is on the list, and nobody's number. (A plain hash would: there are few enough numbers to try.)
An extension or sip: address by which a telephone may be reached is on it as that number too.
"""

import hmac

from callback import clock
from callback.lifecycle.models import to_text
from callback.numbering import phone_numbers
from callback.storage.table import Expression, Key, Table
from callback.tenancy.tenants import Pepper


def hashed(pepper: Pepper, address: str) -> str:
    """What stands for an address where its number must not. Raises what `Pepper.get` does."""
    return hmac.digest(pepper.get().encode(), address.encode(), "sha256").hex()


class SuppressionList:
    """Every method raises what `Pepper.get` does."""

    def __init__(self, table: Table, pepper: Pepper) -> None:
        self._table = table
        self._pepper = pepper

    def add(self, tenant: str, address: str) -> None:
        """`address` as `addresses.parse` writes it. Once more changes nothing."""
        for key in self.keys(tenant, address):
            self._table.update(
                key,
                Expression(
                    "SET suppressed_at = if_not_exists(suppressed_at, :now)",
                    {":now": to_text(clock.now())},
                ),
            )

    def remove(self, tenant: str, address: str) -> None:
        for key in self.keys(tenant, address):
            self._table.delete(key)

    def contains(self, tenant: str, address: str) -> bool:
        """Strongly consistent: who was just added is on it."""
        return any(map(self._table.get, self.keys(tenant, address)))

    def hashed(self, address: str) -> str:
        """What stands for an address in rows that must not name it."""
        return hashed(self._pepper, address)

    def keys(self, tenant: str, *written: str, home: str | None = None) -> list[Key]:
        """The rows that are there if somebody so written is on the list: as each address, and as
        each telephone that it reaches in the region `home`, or anywhere
        (`phone_numbers.telephones`).
        """
        names = {*written}
        names.update(number for each in written for number in phone_numbers.telephones(each, home))
        return [
            (f"SUPPRESSED#{tenant}#{self.hashed(name)}", "SUPPRESSED") for name in sorted(names)
        ]
