"""The suppression list: parties that opted out of a tenant's calls.

One row each, `SUPPRESSED#<tenant>#<hash>`, kept until the party opts in again. The hash is
HMAC-SHA256 of the address under the pepper. The row therefore answers whether a given number is on
the list, but reveals no number. (A plain hash would: all numbers can be tried.)
An extension or sip: address that may reach a telephone is also listed under that number.
"""

import hmac

from callback import clock
from callback.lifecycle.models import to_text
from callback.numbering import phone_numbers
from callback.storage.table import Expression, Key, Table
from callback.tenancy.pepper import Pepper


def hash_address(pepper: Pepper, address: str) -> str:
    """The hash that replaces an address in rows that must not contain it.

    Raises what `Pepper.get` raises.
    """
    return hmac.digest(pepper.get().encode(), address.encode(), "sha256").hex()


class SuppressionList:
    """Every method raises what `Pepper.get` raises."""

    def __init__(self, table: Table, pepper: Pepper) -> None:
        self._table = table
        self._pepper = pepper

    def add(self, tenant: str, address: str) -> None:
        """`address` as `addresses.parse` writes it. Adding it again changes nothing."""
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
        """Strongly consistent: an address that was just added is found."""
        return any(map(self._table.get, self.keys(tenant, address)))

    def hash_address(self, address: str) -> str:
        """The hash that replaces an address in rows that must not contain it."""
        return hash_address(self._pepper, address)

    def keys(self, tenant: str, *notations: str, home: str | None = None) -> list[Key]:
        """The rows that exist if a party with these notations is on the list.

        One row for each notation, and one for each telephone that it reaches in the region
        `home`, or anywhere (`phone_numbers.telephones`).
        """
        names = {*notations}
        names.update(n for each in notations for n in phone_numbers.telephones(each, home))
        return [
            (f"SUPPRESSED#{tenant}#{self.hash_address(name)}", "SUPPRESSED")
            for name in sorted(names)
        ]
