"""Whose number is it? The numbers that a tenant may show, and what each takes as a trigger.

Rows, in the table of the callbacks:

* `NUMBER-OWNER#<E.164>`: whose it is and what it takes. A number has one tenant at most;
* `TENANT-SETTINGS#<tenant>`: one row naming each of the tenant's numbers.
"""

from dataclasses import asdict, dataclass

from callback.storage.table import (
    PRESENT,
    Expression,
    Key,
    Row,
    Table,
    TransactionCanceled,
    check_row,
    delete_row,
    key_row,
    put_row,
)
from callback.tenancy.tenants import TenantStore, settings_of


class NumberTaken(Exception):
    """Another tenant has this number."""


class NoSuchNumber(LookupError):
    """The tenant does not have this number."""


@dataclass(frozen=True)
class TenantNumber:
    """`number` is E.164; the others are addresses as `addresses.parse` writes them.

    `owned`: it is the tenant's own at the carrier; else a caller ID that the carrier verified.
    `sms_to` is who B is for a text `CALL ME` to this number, `missed_call_to` for a call that it
    turned away; None: not taken. `sms_to_anyone`: `CALL <number>` is taken, so that whoever texts
    chooses whom the tenant pays to call.
    """

    number: str
    tenant: str
    owned: bool
    sms_to: str | None = None
    sms_to_anyone: bool = False
    missed_call_to: str | None = None


class NumberStore:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._tenants = TenantStore(table)

    def put(self, number: TenantNumber) -> None:
        """New, or instead of what the tenant had said of it. Raises NumberTaken, NoSuchTenant."""
        facts = {name: value for name, value in asdict(number).items() if value is not None}
        unless_taken = Expression(
            "attribute_not_exists(pk) OR tenant = :tenant", {":tenant": number.tenant}
        )
        reasons = self._table.transact(
            check_row(settings_of(number.tenant), PRESENT),
            put_row({**key_row(key(number.number)), **facts}, unless_taken),
            put_row(key_row(_listed_number(number.tenant, number.number))),
        )
        if reasons is None:
            return
        self._tenants.require(number.tenant)
        held = self.get(number.number)
        if held and held.tenant != number.tenant:
            raise NumberTaken("Another tenant has this number.")
        raise TransactionCanceled(reasons)

    def get(self, number: str) -> TenantNumber | None:
        """Strongly consistent: what `put` said last."""
        row = self._table.get(key(number))
        return from_row(row) if row else None

    def of(self, tenant: str) -> list[TenantNumber]:
        """The tenant's numbers, by number. Raises NoSuchTenant."""
        self._tenants.require(tenant)
        listed = self._table.under(*settings_of(tenant, _LISTED_NUMBER))
        held = (self.get(row["sk"].removeprefix(_LISTED_NUMBER)) for row in listed)
        return [number for number in held if number and number.tenant == tenant]

    def remove(self, tenant: str, number: str) -> None:
        """Nobody has it any more. Raises NoSuchNumber where this tenant has it not."""
        reasons = self._table.transact(
            delete_row(key(number), Expression("tenant = :tenant", {":tenant": tenant})),
            delete_row(_listed_number(tenant, number)),
        )
        if reasons is None:
            return
        found = self.get(number)
        if found is None or found.tenant != tenant:
            raise NoSuchNumber("The tenant does not have this number.")
        raise TransactionCanceled(reasons)


_LISTED_NUMBER = "NUMBER#"


def key(number: str) -> Key:
    """The row that tells whose a number is; `from_row` reads it."""
    return f"NUMBER-OWNER#{number}", "NUMBER"


def _listed_number(tenant: str, number: str) -> Key:
    return settings_of(tenant, f"{_LISTED_NUMBER}{number}")


def from_row(row: Row) -> TenantNumber:
    return TenantNumber(
        number=row["number"],
        tenant=row["tenant"],
        owned=row["owned"],
        sms_to=row.get("sms_to"),
        sms_to_anyone=row.get("sms_to_anyone", False),
        missed_call_to=row.get("missed_call_to"),
    )
