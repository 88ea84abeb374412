"""Whose number is it? The numbers that a tenant may show, and what each takes as a trigger.

Rows, in the table of the callbacks:

* `NUMBER-OWNER#<E.164>`: whose it is and what it takes. A number has one tenant at most;
* `TENANT-SETTINGS#<tenant>`: one row naming each of the tenant's numbers.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from callback import rows
from callback.rows import serialize
from callback.tenants import TenantStore, settings_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


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
    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table = table_name
        self._tenants = TenantStore(client, table_name)

    def put(self, number: TenantNumber) -> None:
        """New, or instead of what the tenant had said of it. Raises NumberTaken, NoSuchTenant."""
        facts = {k: serialize(v) for k, v in asdict(number).items() if v is not None}
        tenant_exists = {
            "TableName": self._table,
            "Key": rows.as_item(settings_of(number.tenant)),
            "ConditionExpression": "attribute_exists(pk)",
        }
        unless_taken = {
            "TableName": self._table,
            "Item": {**_key(number.number), **facts},
            "ConditionExpression": "attribute_not_exists(pk) OR tenant = :tenant",
            "ExpressionAttributeValues": {":tenant": serialize(number.tenant)},
        }
        listed = {"TableName": self._table, "Item": _listed_number(number.tenant, number.number)}
        writes: Any = [{"ConditionCheck": tenant_exists}, {"Put": unless_taken}, {"Put": listed}]
        try:
            self._client.transact_write_items(TransactItems=writes)
        except self._client.exceptions.TransactionCanceledException:
            self._tenants.require(number.tenant)
            held = self.get(number.number)
            if held and held.tenant != number.tenant:
                raise NumberTaken("Another tenant has this number.") from None
            raise

    def get(self, number: str) -> TenantNumber | None:
        """Strongly consistent: what `put` said last."""
        row = rows.get(self._client, self._table, _key(number))
        return from_row(row) if row else None

    def of(self, tenant: str) -> list[TenantNumber]:
        """The tenant's numbers, by number. Raises NoSuchTenant."""
        self._tenants.require(tenant)
        listed = rows.under(self._client, self._table, *settings_of(tenant, _LISTED_NUMBER))
        held = (self.get(row["sk"].removeprefix(_LISTED_NUMBER)) for row in listed)
        return [number for number in held if number and number.tenant == tenant]

    def remove(self, tenant: str, number: str) -> None:
        """Nobody has it any more. Raises NoSuchNumber where this tenant has it not."""
        held = {
            "TableName": self._table,
            "Key": _key(number),
            "ConditionExpression": "tenant = :tenant",
            "ExpressionAttributeValues": {":tenant": serialize(tenant)},
        }
        listed = {"TableName": self._table, "Key": _listed_number(tenant, number)}
        writes: Any = [{"Delete": held}, {"Delete": listed}]
        try:
            self._client.transact_write_items(TransactItems=writes)
        except self._client.exceptions.TransactionCanceledException:
            found = self.get(number)
            if found is None or found.tenant != tenant:
                raise NoSuchNumber("The tenant does not have this number.") from None
            raise


_LISTED_NUMBER = "NUMBER#"


def key(number: str) -> rows.Key:
    """The row that tells whose a number is; `from_row` reads it."""
    return f"NUMBER-OWNER#{number}", "NUMBER"


def _key(number: str) -> dict[str, Any]:
    return rows.as_item(key(number))


def _listed_number(tenant: str, number: str) -> rows.Item:
    return rows.as_item(settings_of(tenant, f"{_LISTED_NUMBER}{number}"))


def from_row(row: rows.Row) -> TenantNumber:
    return TenantNumber(
        number=row["number"],
        tenant=row["tenant"],
        owned=row["owned"],
        sms_to=row.get("sms_to"),
        sms_to_anyone=row.get("sms_to_anyone", False),
        missed_call_to=row.get("missed_call_to"),
    )
