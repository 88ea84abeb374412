"""The caller IDs that a callback shows, and the tenants of the numbers involved."""

from dataclasses import dataclass
from functools import cached_property

from callback import errors
from callback.admission.party import Party
from callback.numbering import addresses, phone_numbers
from callback.storage.table import Key, Row
from callback.tenancy import numbers
from callback.tenancy.numbers import TenantNumber
from callback.tenancy.policy import Policy


@dataclass(frozen=True)
class NumberOwners:
    """The tenants that have the numbers in `rows`. `tenant` is the one that asks."""

    tenant: str
    rows: dict[Key, Row]

    def owner(self, number: str) -> TenantNumber | None:
        row = self.rows.get(numbers.key(number))
        return numbers.from_row(row) if row else None

    def belongs_to_tenant(self, number: str) -> bool:
        """Whether the tenant has it: its own at the carrier, or a verified caller ID."""
        owner = self.owner(number)
        return owner is not None and owner.tenant == self.tenant

    def is_own_person(self, party: Party) -> bool:
        """Whether the tenant's own people answer: each telephone that may ring is the tenant's."""
        return party.destination.is_telephone and all(map(self.belongs_to_tenant, party.numbers))


@dataclass(frozen=True, eq=False)
class CallerIds:
    """What each party sees: the requested caller ID, the other party's number or the fallback."""

    parties: tuple[Party, Party]
    policy: Policy
    owners: NumberOwners
    home_region: str

    @cached_property
    def shown(self) -> tuple[str, str]:
        """The caller IDs shown to A and to B. Raises CallerIdNotAllowed."""
        a, b = self.parties
        return self._choose(a, b), self._choose(b, a)

    def _choose(self, party: Party, other: Party) -> str:
        requested, fallback = party.leg.caller_id, self.policy.fallback_caller_id
        tenant = self.owners.tenant
        if requested:
            if self._may_show(requested, party):
                return requested
            raise errors.CallerIdNotAllowed(
                f"leg_{party.name}.from must be a number of yours, owned or verified. Omit it, or"
                f" ask your operator to run `put-number {tenant} <number>`.",
                leg=party.name,
            )
        if self._may_show(other.leg.to, party):
            return other.leg.to
        if fallback and self.owners.belongs_to_tenant(fallback):
            return fallback
        raise errors.CallerIdNotAllowed(
            f"There is no caller ID for leg_{party.name}. Set leg_{party.name}.from to a number of"
            f" yours, or ask your operator to run `put-number {tenant} <number>` and"
            f" `set-policy {tenant} fallback_caller_id=<number>`.",
            leg=party.name,
        )

    def _may_show(self, address: str, party: Party) -> bool:
        # The carrier shows only telephone numbers to a telephone (Twilio error 21212).
        # A PBX also shows its own extensions.
        if addresses.is_number(party.leg.to) and not addresses.is_number(
            addresses.user_part(address)
        ):
            return False
        telephones = phone_numbers.telephones(address, self.home_region)
        if telephones:
            return all(map(self.owners.belongs_to_tenant, telephones))
        return self.policy.any_caller_id_extension and not party.destination.is_telephone
