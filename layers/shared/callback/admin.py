"""Tenants: keys, numbers, policies, and forgetting. From a shell: python -m callback.admin --help

Talks to the AWS of your credentials and region, or to the one that AWS_ENDPOINT_URL names.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import BotoCoreError, ClientError

from callback import amounts, aws
from callback.admission import prices
from callback.lifecycle.models import to_text
from callback.numbering import addresses, phone_numbers
from callback.privacy.erasures import Erasure, ErasureStore
from callback.scopes import Scope
from callback.storage.table import Table, TransactionCanceled
from callback.tenancy import numbers, policy, suppression, tenants
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.policy import PolicyStore
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import ApiKey, Pepper, TenantStore
from callback.webhooks.endpoints import EndpointStore

_Client = TypeVar("_Client")
_Command = Callable[[str, str], argparse.ArgumentParser]  # its name, and what it is about


class Refused(Exception):
    """The command does nothing; the message says why."""


_REFUSALS = (
    BotoCoreError,
    ClientError,
    GetParameterError,
    Refused,
    TransactionCanceled,
    addresses.InvalidAddress,
    amounts.InvalidAmount,
    numbers.NoSuchNumber,
    numbers.NumberTaken,
    policy.InvalidValue,
    policy.UnknownField,
    tenants.InvalidTenant,
    tenants.NoSuchKey,
    tenants.NoSuchTenant,
    tenants.PepperTooShort,
    tenants.TenantExists,
)


# What fits into the form of the field.
_MOST_AT_ONCE = 999_999_999


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m callback.admin",
        description="Tenants, API keys, numbers, policies, and forgetting.",
    )
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--table", required=True, help="the stack's output TableName")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[everywhere])

    tenant = command("create-tenant", "A new tenant, without a key.")
    tenant.add_argument("tenant", help="a-z, 0-9 and -")
    command("list-tenants", "Every tenant there is.")
    key = command("create-key", "A new key for a tenant; its secret is printed once.")
    key.add_argument("tenant")
    key.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        help="what it may do, repeatable; everything without it",
    )
    key.add_argument(
        "--pepper", default="/voice-callback/key-pepper", help="the stack's parameter KeyPepperName"
    )
    revoke = command("revoke-key", "Make a key worthless for good, within a minute.")
    revoke.add_argument("key_id")
    listed = command("list-keys", "A tenant's keys, revoked ones included.")
    listed.add_argument("tenant")
    for name, about in (
        ("suppress", "Do not call a number for a tenant; read from stdin."),
        ("unsuppress", "Call it again; read from stdin."),
    ):
        listed_party = command(name, about)
        listed_party.add_argument("tenant")
        listed_party.add_argument("--pepper", default="/voice-callback/key-pepper")
    erase = command("erase-number", "Forget a number, here and at the carrier; read from stdin.")
    erase.add_argument("tenant")
    erase.add_argument("--pepper", default="/voice-callback/key-pepper")
    everything = command(
        "erase-tenant",
        "Revoke a tenant's keys, let go of its numbers and endpoint, forget its callbacks; its name"
        " is read from stdin once more.",
    )
    everything.add_argument("tenant")
    erased = command("list-erasures", "What was and is to be forgotten of a tenant, newest first.")
    erased.add_argument("tenant")
    put, allow = _add_numbers(command), _add_policies(command)
    arguments = parser.parse_args(given)
    if arguments.command == "put-number" and arguments.verified and _takes(arguments):
        put.error("a number that is only verified takes neither texts nor calls")
    if arguments.command == "set-policy":
        counted = Counter(field for field, _ in arguments.fields)
        for field in (field for field, count in counted.items() if count > 1):
            allow.error(f"{field} is given more than once")
    return arguments


def _add_numbers(command: _Command) -> argparse.ArgumentParser:
    """The parser of put-number."""
    put = command(
        "put-number",
        "A number of a tenant's, and what it takes as a trigger, instead of what was said before.",
    )
    put.add_argument("tenant")
    put.add_argument("number", type=_number, help="E.164, such as +14155550100")
    put.add_argument(
        "--verified",
        action="store_true",
        help="a caller ID that the carrier verified; without it, a number of your own there",
    )
    put.add_argument("--sms-to", type=_address, help="whom CALL ME, texted to it, connects to")
    put.add_argument(
        "--sms-to-anyone",
        action="store_true",
        help="take CALL <number>, too: whoever texts then chooses whom you pay to call",
    )
    put.add_argument("--missed-call-to", type=_address, help="whom a call to it connects to")
    held = command("list-numbers", "A tenant's numbers.")
    held.add_argument("tenant")
    remove = command("remove-number", "The number is nobody's from now on.")
    remove.add_argument("tenant")
    remove.add_argument("number", type=_number)
    return put


def _add_policies(command: _Command) -> argparse.ArgumentParser:
    """The parser of set-policy."""
    allow = command("set-policy", "What a tenant may do, field by field, within seconds.")
    allow.add_argument("tenant")
    allow.add_argument(
        "fields",
        nargs="+",
        type=_field,
        metavar="field=value",
        help="a field that show-policy shows; nothing after the =: its default",
    )
    allowed = command("show-policy", "What a tenant may do.")
    allowed.add_argument("tenant")
    switch = command("kill-switch", "Stop all calling, or a tenant's, within seconds.")
    switch.add_argument("state", choices=["on", "off", "show"], help="on: nothing is dialed")
    switch.add_argument("tenant", nargs="?", help="everybody without it")
    return allow


def _takes(arguments: argparse.Namespace) -> bool:
    return bool(arguments.sms_to or arguments.sms_to_anyone or arguments.missed_call_to)


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError("give it as field=value")
    return name, value


def _number(text: str) -> str:
    if not phone_numbers.is_e164(text):
        raise argparse.ArgumentTypeError("give it as E.164, such as +14155550100")
    return text


def _address(text: str) -> str:
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as refused:
        raise argparse.ArgumentTypeError(refused.detail) from None


def _client(make: Callable[[], _Client]) -> _Client:
    """Raises Refused where AWS_ENDPOINT_URL is no URL, of which botocore says so."""
    try:
        return make()
    except ValueError as invalid:
        raise Refused(f"AWS_ENDPOINT_URL: {invalid}") from None


def _table(arguments: argparse.Namespace) -> Table:
    return Table(_client(aws.dynamodb), arguments.table)


def _pepper(arguments: argparse.Namespace) -> Pepper:
    return Pepper(arguments.pepper, SSMProvider(boto3_client=_client(aws.ssm)))


def _run_tenants(arguments: argparse.Namespace) -> None:
    store = TenantStore(_table(arguments))
    match arguments.command:
        case "create-tenant":
            store.add_tenant(arguments.tenant)
            print(f"tenant   {arguments.tenant}")
        case "list-tenants":
            for tenant in store.tenants():
                print(tenant)
        case "create-key":
            pepper = _pepper(arguments).get()
            key, secret = tenants.create_key(
                store, pepper, arguments.tenant, arguments.scope or list(Scope)
            )
            print(f"key id   {key.key_id}\nsecret   {secret}\nscopes   {_scopes(key)}")
            print(f"send     Authorization: Bearer {key.key_id}.{secret}")
        case "revoke-key":
            store.revoke(arguments.key_id)
            print(f"revoked  {arguments.key_id}")
        case "list-keys":
            for key in store.keys(arguments.tenant):
                revoked = f"revoked {to_text(key.revoked_at)}" if key.revoked_at else "valid"
                print(f"{key.key_id}  {to_text(key.created_at)}  {_scopes(key)}  {revoked}")


def _run_numbers(arguments: argparse.Namespace) -> None:
    held = NumberStore(_table(arguments))
    match arguments.command:
        case "put-number":
            number = TenantNumber(
                number=arguments.number,
                tenant=arguments.tenant,
                owned=not arguments.verified,
                sms_to=arguments.sms_to,
                sms_to_anyone=arguments.sms_to_anyone,
                missed_call_to=arguments.missed_call_to,
            )
            before = held.get(number.number)
            held.put(number)
            if before and before != number:
                print(f"instead of  {_told(before)}")
            print(_told(number))
        case "list-numbers":
            for number in held.list_numbers(arguments.tenant):
                print(_told(number))
        case "remove-number":
            held.remove(arguments.tenant, arguments.number)
            print(f"removed  {arguments.number}")


def _run_policy(arguments: argparse.Namespace) -> None:
    table = _table(arguments)
    held = NumberStore(table)
    policies = PolicyStore(table)
    match arguments.command:
        case "set-policy":
            for field, text in arguments.fields:
                _refuse_senseless(held, arguments.tenant, field, text)
            for field, text in arguments.fields:
                policies.set(arguments.tenant, field, text)
            _show_policy(policies, arguments.tenant)
        case "show-policy":
            _show_policy(policies, arguments.tenant)
        case "kill-switch":
            if arguments.state != "show":
                policies.switch(on=arguments.state == "on", tenant=arguments.tenant)
            print(f"{arguments.tenant or 'everybody'}  {_calls(policies, arguments.tenant)}")


def _refuse_senseless(held: NumberStore, tenant: str, field: str, text: str) -> None:
    """Raises InvalidValue for what has the right form and yet no sense, and UnknownField."""
    if field.startswith("calls_per_") and re.search(r"(?:^|,)0+/", text):
        raise policy.InvalidValue(f"{field}: 0 is no rate; enabled=false stops all calling.")
    if field == "concurrent_callbacks" and text.isdecimal() and int(text) > _MOST_AT_ONCE:
        raise policy.InvalidValue(f"{field}: give {_MOST_AT_ONCE} at most.")
    value = policy.parse_field(field, text)
    if field == "allowed_regions" and not value <= phone_numbers.REGIONS:
        raise policy.InvalidValue("allowed_regions: give ISO 3166 codes, such as US,CA.")
    if field == "daily_spend" and value.currency != prices.read().currency:
        raise policy.InvalidValue(f"daily_spend: prices are in {prices.read().currency}.")
    if field == "fallback_caller_id" and value:
        number = held.get(value)
        if number is None or number.tenant != tenant:
            raise policy.InvalidValue("fallback_caller_id: give a number of the tenant's.")


def _show_policy(policies: PolicyStore, tenant: str) -> None:
    for field, text in policy.format_policy(policies.get(tenant)).items():
        print(f"{field}={text}")


def _calls(policies: PolicyStore, tenant: str | None) -> str:
    stopped = not policies.get(tenant).enabled if tenant else policies.switch_is_on()
    return "calling is stopped" if stopped else "calling is on"


def _told(number: TenantNumber) -> str:
    kind = "owned" if number.owned else "verified"
    me, missed = number.sms_to or "nobody", number.missed_call_to or "nobody"
    given = "anyone" if number.sms_to_anyone else "nobody"
    return (
        f"{number.number}  {kind}  CALL ME to {me}  CALL <number> to {given}"
        f"  missed call to {missed}"
    )


def _run_suppression(arguments: argparse.Namespace) -> None:
    table = _table(arguments)
    TenantStore(table).require(arguments.tenant)
    suppressed = SuppressionList(table, _pepper(arguments))
    change = suppressed.add if arguments.command == "suppress" else suppressed.remove
    change(arguments.tenant, _typed_number())
    print(f"{arguments.command}ed")


def _run_erasure(arguments: argparse.Namespace) -> None:
    table, tenant = _table(arguments), arguments.tenant
    erasures = ErasureStore(table)
    store = TenantStore(table)
    store.require(tenant)
    match arguments.command:
        case "erase-number":
            address = _typed_number()
            hashed = suppression.hash_address(_pepper(arguments), address)
            print(_progress(erasures.add(tenant, address, hashed)))
        case "erase-tenant":
            if _typed(f"Everything of {tenant} is to be forgotten. Type its name: ") != tenant:
                raise Refused(f"That is not {tenant}: nothing is forgotten.")
            for key in store.keys(tenant):
                store.revoke(key.key_id)
            held = NumberStore(table)
            for number in held.list_numbers(tenant):
                held.remove(tenant, number.number)
            EndpointStore(table).forget(tenant)
            print(_progress(erasures.add(tenant, None, None)))
        case "list-erasures":
            for erasure in erasures.list_erasures(tenant):
                print(_progress(erasure))


def _typed_number() -> str:
    """Not an argument: those stay in the shell's history. Raises InvalidAddress."""
    return addresses.parse(_typed("The number: "))


def _typed(prompt: str) -> str:
    """A line of stdin; whoever sits there is asked for it."""
    if sys.stdin.isatty():
        print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _progress(erasure: Erasure) -> str:
    whom = (erasure.number_hash or "everybody")[:16]
    counted = f"{erasure.callbacks} callbacks here, {erasure.calls} calls at the carrier"
    done = f"done {to_text(erasure.finished_at)}" if erasure.finished_at else "not done"
    return f"{erasure.erasure_id}  {to_text(erasure.requested_at)}  {whom}  {counted}  {done}"


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "create-tenant": _run_tenants,
    "list-tenants": _run_tenants,
    "create-key": _run_tenants,
    "list-keys": _run_tenants,
    "revoke-key": _run_tenants,
    "put-number": _run_numbers,
    "list-numbers": _run_numbers,
    "remove-number": _run_numbers,
    "set-policy": _run_policy,
    "show-policy": _run_policy,
    "kill-switch": _run_policy,
    "suppress": _run_suppression,
    "unsuppress": _run_suppression,
    "erase-number": _run_erasure,
    "erase-tenant": _run_erasure,
    "list-erasures": _run_erasure,
}


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    try:
        _RUN[arguments.command](arguments)
    except _REFUSALS as refusal:
        print(_reason(refusal, arguments.table), file=sys.stderr)
        return 1
    return 0


def _reason(refusal: Exception, table: str) -> str:
    """DynamoDB does not name the table that is not there."""
    answer = refusal.response["Error"]["Code"] if isinstance(refusal, ClientError) else ""
    if answer == "ResourceNotFoundException":
        return f"There is no table {table} in this account and region."
    return str(refusal)


if __name__ == "__main__":
    sys.exit(main())
