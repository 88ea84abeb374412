"""The numbers that a tenant may show as caller IDs, and the triggers that each accepts.

Rows, in the table of the callbacks:

* `NUMBER-OWNER#<E.164>`: the number's tenant and its triggers. A number has one tenant at most;
* `TENANT-SETTINGS#<tenant>`: one row for each of the tenant's numbers.
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
from callback.tenancy.tenants import TenantStore, settings_key


class NumberTaken(Exception):
    """Another tenant has this number."""


class NoSuchNumber(LookupError):
    """The tenant does not have this number."""


@dataclass(frozen=True)
class TenantNumber:
    """`number` is E.164; the other addresses are as `addresses.parse` writes them.

    `owned`: the tenant rents the number at the carrier. False: the carrier verified it as a
    caller ID.
    `sms_to`: party B for a text `CALL ME` to this number. None: not accepted.
    `missed_call_to`: party B for a call that this number rejected. None: not accepted.
    `sms_to_anyone`: `CALL <number>` is accepted. The sender then chooses whom the tenant pays to
    call.
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
        """Add the number, or replace all its settings. Raises NumberTaken, NoSuchTenant."""
        facts = {name: value for name, value in asdict(number).items() if value is not None}
        unless_taken = Expression(
            "attribute_not_exists(pk) OR tenant = :tenant", {":tenant": number.tenant}
        )
        reasons = self._table.transact(
            check_row(settings_key(number.tenant), PRESENT),
            put_row({**key_row(key(number.number)), **facts}, unless_taken),
            put_row(key_row(_list_key(number.tenant, number.number))),
        )
        if reasons is None:
            return
        self._tenants.require(number.tenant)
        existing = self.get(number.number)
        if existing and existing.tenant != number.tenant:
            raise NumberTaken("Another tenant has this number.")
        raise TransactionCanceled(reasons)

    def get(self, number: str) -> TenantNumber | None:
        """Strongly consistent: the last `put` is visible."""
        row = self._table.get(key(number))
        return from_row(row) if row else None

    def list_numbers(self, tenant: str) -> list[TenantNumber]:
        """The tenant's numbers, by number. Raises NoSuchTenant."""
        self._tenants.require(tenant)
        rows = self._table.under(*settings_key(tenant, _LISTED_NUMBER))
        numbers = (self.get(row["sk"].removeprefix(_LISTED_NUMBER)) for row in rows)
        return [number for number in numbers if number and number.tenant == tenant]

    def remove(self, tenant: str, number: str) -> None:
        """Release the number. Raises NoSuchNumber if it is not this tenant's."""
        reasons = self._table.transact(
            delete_row(key(number), Expression("tenant = :tenant", {":tenant": tenant})),
            delete_row(_list_key(tenant, number)),
        )
        if reasons is None:
            return
        existing = self.get(number)
        if existing is None or existing.tenant != tenant:
            raise NoSuchNumber("The tenant does not have this number.")
        raise TransactionCanceled(reasons)


_LISTED_NUMBER = "NUMBER#"


def key(number: str) -> Key:
    """The row with a number's tenant and triggers; `from_row` reads it."""
    return f"NUMBER-OWNER#{number}", "NUMBER"


def _list_key(tenant: str, number: str) -> Key:
    return settings_key(tenant, f"{_LISTED_NUMBER}{number}")


def from_row(row: Row) -> TenantNumber:
    return TenantNumber(
        number=row["number"],
        tenant=row["tenant"],
        owned=row["owned"],
        sms_to=row.get("sms_to"),
        sms_to_anyone=row.get("sms_to_anyone", False),
        missed_call_to=row.get("missed_call_to"),
    )
