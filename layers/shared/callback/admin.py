"""The operator's commands. From a shell: python -m callback.admin --help

They use the AWS account of your credentials and region, or the endpoint in AWS_ENDPOINT_URL.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from callback import amounts, aws
from callback.admission import prices
from callback.errors import StoreContended
from callback.lifecycle.models import to_text
from callback.numbering import addresses, phone_numbers
from callback.privacy.erasures import Erasure, ErasureStore
from callback.scopes import Scope
from callback.storage.departures import Departures
from callback.storage.parameters import Parameters, ParameterUnreadable
from callback.storage.table import Table, TransactionCanceled
from callback.tenancy import api_keys, numbers, policy_text, suppression, tenants
from callback.tenancy.api_keys import ApiKey, ApiKeyStore
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.pepper import Pepper, PepperTooShort
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import TenantStore
from callback.webhooks.endpoints import EndpointStore

_Client = TypeVar("_Client")
_Command = Callable[[str, str], argparse.ArgumentParser]  # (name, description)


class Refused(Exception):
    """The command does nothing. The message says why."""


_REFUSALS = (
    BotoCoreError,
    ClientError,
    ParameterUnreadable,
    PepperTooShort,
    Refused,
    StoreContended,
    TransactionCanceled,
    addresses.InvalidAddress,
    amounts.InvalidAmount,
    api_keys.NoSuchKey,
    numbers.NoSuchNumber,
    numbers.NumberTaken,
    policy_text.InvalidValue,
    policy_text.UnknownField,
    tenants.InvalidTenant,
    tenants.NoSuchTenant,
    tenants.TenantExists,
)


# The largest number that the field's text form allows.
_MOST_AT_ONCE = 999_999_999

# Calls per second, as the template's CallsPerSecond.
_SLOWEST, _FASTEST = 0.01, 1000

_DEFAULT_PEPPER = "/voice-callback/key-pepper"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m callback.admin",
        description="Manage tenants, API keys, numbers, policies, opt-outs and erasures.",
    )
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--table", required=True, help="the stack's output TableName")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[everywhere])

    _add_tenants(command)
    _add_privacy(command)
    put_number, set_policy = _add_numbers(command), _add_policies(command)
    arguments = parser.parse_args(argv)
    if arguments.command == "put-number" and arguments.verified and _has_trigger(arguments):
        put_number.error("a number that is only verified accepts neither texts nor calls")
    if arguments.command == "set-policy":
        counts = Counter(field for field, _ in arguments.fields)
        for field in (field for field, count in counts.items() if count > 1):
            set_policy.error(f"{field} is given more than once")
    return arguments


def _add_tenants(command: _Command) -> None:
    create_tenant = command("create-tenant", "Create a tenant, without a key.")
    create_tenant.add_argument("tenant", help="a-z, 0-9 and -")
    command("list-tenants", "List all tenants.")
    create_key = command("create-key", "Create a key for a tenant. Its secret is printed once.")
    create_key.add_argument("tenant")
    create_key.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        help="a scope of the key; repeatable; default: all",
    )
    _add_pepper(create_key)
    revoke_key = command("revoke-key", "Revoke a key permanently. It is refused within a minute.")
    revoke_key.add_argument("key_id")
    list_keys = command("list-keys", "List a tenant's keys, with the revoked ones.")
    list_keys.add_argument("tenant")


def _add_privacy(command: _Command) -> None:
    for name, about in (
        ("suppress", "Stop a tenant's calls to a number. The number is read from stdin."),
        ("unsuppress", "Reverse suppress. The number is read from stdin."),
        ("erase-number", "Erase a number, here and at the carrier. The number is read from stdin."),
    ):
        with_number = command(name, about)
        with_number.add_argument("tenant")
        _add_pepper(with_number)
    erase_tenant = command(
        "erase-tenant",
        "Revoke a tenant's keys, release its numbers and endpoint, erase its callbacks."
        " Its name is read from stdin as a confirmation.",
    )
    erase_tenant.add_argument("tenant")
    list_erasures = command("list-erasures", "List a tenant's erasures, newest first.")
    list_erasures.add_argument("tenant")


def _add_pepper(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pepper", default=_DEFAULT_PEPPER, help="the stack's parameter KeyPepperName"
    )


def _add_numbers(command: _Command) -> argparse.ArgumentParser:
    """Returns the parser of put-number."""
    put_number = command(
        "put-number",
        "Assign a number to a tenant, with the triggers that it accepts. This replaces all earlier"
        " settings of the number.",
    )
    put_number.add_argument("tenant")
    put_number.add_argument("number", type=_number, help="E.164, such as +14155550100")
    put_number.add_argument(
        "--verified",
        action="store_true",
        help="the carrier verified the number as a caller ID; default: you rent it there",
    )
    put_number.add_argument("--sms-to", type=_address, help="the party that CALL ME connects to")
    put_number.add_argument(
        "--sms-to-anyone",
        action="store_true",
        help="accept CALL <number>, too: the sender then chooses whom you pay to call",
    )
    put_number.add_argument(
        "--missed-call-to", type=_address, help="the party that a missed call connects to"
    )
    list_numbers = command("list-numbers", "List a tenant's numbers.")
    list_numbers.add_argument("tenant")
    remove_number = command("remove-number", "Release a tenant's number.")
    remove_number.add_argument("tenant")
    remove_number.add_argument("number", type=_number)
    return put_number


def _add_policies(command: _Command) -> argparse.ArgumentParser:
    """Returns the parser of set-policy."""
    set_policy = command(
        "set-policy", "Set fields of a tenant's policy. They take effect within seconds."
    )
    set_policy.add_argument("tenant")
    set_policy.add_argument(
        "fields",
        nargs="+",
        type=_field,
        metavar="field=value",
        help="a field that show-policy prints; an empty value restores the default",
    )
    show_policy = command("show-policy", "Print a tenant's policy.")
    show_policy.add_argument("tenant")
    switch = command(
        "kill-switch", "Stop or resume all calls, or those of a tenant, within seconds."
    )
    switch.add_argument(
        "state", choices=["on", "off", "show"], help="on: stop; off: resume; show: print the state"
    )
    switch.add_argument("tenant", nargs="?", help="default: all tenants")
    set_rate = command(
        "set-carrier-rate",
        "Set how many create requests a second are sent to the carrier, at once.",
    )
    set_rate.add_argument(
        "rate", type=_rate, help="calls per second, which the carrier's account must have"
    )
    command("show-carrier-rate", "Print the rate, and the one in effect if it was lowered.")
    return set_policy


def _has_trigger(arguments: argparse.Namespace) -> bool:
    return bool(arguments.sms_to or arguments.sms_to_anyone or arguments.missed_call_to)


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError("write it as field=value")
    return name, value


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not _SLOWEST <= rate <= _FASTEST:
        raise argparse.ArgumentTypeError(f"give {_SLOWEST} to {_FASTEST} calls per second")
    return rate


def _number(text: str) -> str:
    if not phone_numbers.is_e164(text):
        raise argparse.ArgumentTypeError("write it as E.164, such as +14155550100")
    return text


def _address(text: str) -> str:
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as refusal:
        raise argparse.ArgumentTypeError(refusal.detail) from None


def _client(make: Callable[[], _Client]) -> _Client:
    """Raises Refused if botocore finds that AWS_ENDPOINT_URL is not a URL."""
    try:
        return make()
    except ValueError as invalid:
        raise Refused(f"AWS_ENDPOINT_URL: {invalid}") from None


def _table(arguments: argparse.Namespace) -> Table:
    return Table(_client(aws.dynamodb), arguments.table)


def _pepper(arguments: argparse.Namespace) -> Pepper:
    return Pepper(arguments.pepper, Parameters(lambda: _client(aws.ssm)))


def _run_tenants(arguments: argparse.Namespace) -> None:
    store = TenantStore(_table(arguments))
    match arguments.command:
        case "create-tenant":
            store.add_tenant(arguments.tenant)
            print(f"tenant   {arguments.tenant}")
        case "list-tenants":
            for tenant in store.tenants():
                print(tenant)


def _run_keys(arguments: argparse.Namespace) -> None:
    store = ApiKeyStore(_table(arguments))
    match arguments.command:
        case "create-key":
            pepper = _pepper(arguments).get()
            key, secret = api_keys.create_key(
                store, pepper, arguments.tenant, arguments.scope or list(Scope)
            )
            print(f"key id   {key.key_id}\nsecret   {secret}\nscopes   {_scopes(key)}")
            print(f"send     Authorization: Bearer {key.key_id}.{secret}")
        case "revoke-key":
            store.revoke(arguments.key_id)
            print(f"revoked  {arguments.key_id}")
        case "list-keys":
            for key in store.list_keys(arguments.tenant):
                revoked = f"revoked {to_text(key.revoked_at)}" if key.revoked_at else "valid"
                print(f"{key.key_id}  {to_text(key.created_at)}  {_scopes(key)}  {revoked}")


def _run_numbers(arguments: argparse.Namespace) -> None:
    store = NumberStore(_table(arguments))
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
            before = store.get(number.number)
            store.put(number)
            if before and before != number:
                print(f"instead of  {_number_line(before)}")
            print(_number_line(number))
        case "list-numbers":
            for number in store.list_numbers(arguments.tenant):
                print(_number_line(number))
        case "remove-number":
            store.remove(arguments.tenant, arguments.number)
            print(f"removed  {arguments.number}")


def _run_policy(arguments: argparse.Namespace) -> None:
    table = _table(arguments)
    policies = PolicyStore(table)
    match arguments.command:
        case "set-policy":
            for field, text in arguments.fields:
                _refuse_useless(NumberStore(table), arguments.tenant, field, text)
            for field, text in arguments.fields:
                policies.set(arguments.tenant, field, text)
            _show_policy(policies, arguments.tenant)
        case "show-policy":
            _show_policy(policies, arguments.tenant)
        case "kill-switch":
            if arguments.state != "show":
                policies.switch(on=arguments.state == "on", tenant=arguments.tenant)
            state = _switch_state(policies, arguments.tenant)
            print(f"{arguments.tenant or 'all tenants'}  {state}")


def _refuse_useless(store: NumberStore, tenant: str, field: str, text: str) -> None:
    """Raises InvalidValue, also for valid values that can have no effect; and UnknownField."""
    if field.startswith("calls_per_") and re.search(r"(?:^|,)0+/", text):
        raise policy_text.InvalidValue(f"{field}: 0 is not a rate. enabled=false stops all calls.")
    if field == "concurrent_callbacks" and text.isdecimal() and int(text) > _MOST_AT_ONCE:
        raise policy_text.InvalidValue(f"{field}: give {_MOST_AT_ONCE} at most.")
    value = policy_text.parse_field(field, text)
    if field == "allowed_regions" and not value <= phone_numbers.REGIONS:
        raise policy_text.InvalidValue("allowed_regions: give ISO 3166 codes, such as US,CA.")
    if field == "daily_spend" and value.currency != prices.read().currency:
        raise policy_text.InvalidValue(f"daily_spend: prices are in {prices.read().currency}.")
    if field == "fallback_caller_id" and value:
        number = store.get(value)
        if number is None or number.tenant != tenant:
            raise policy_text.InvalidValue(
                "fallback_caller_id: give a number of the tenant. `put-number` assigns one."
            )


def _show_policy(policies: PolicyStore, tenant: str) -> None:
    for field, text in policy_text.format_policy(policies.get(tenant)).items():
        print(f"{field}={text}")


def _switch_state(policies: PolicyStore, tenant: str | None) -> str:
    stopped = not policies.get(tenant).enabled if tenant else policies.switch_is_on()
    return "calling is stopped" if stopped else "calling is on"


def _number_line(number: TenantNumber) -> str:
    kind = "owned" if number.owned else "verified"
    me, missed = number.sms_to or "nobody", number.missed_call_to or "nobody"
    any_number = "anyone" if number.sms_to_anyone else "nobody"
    return (
        f"{number.number}  {kind}  CALL ME to {me}  CALL <number> to {any_number}"
        f"  missed call to {missed}"
    )


def _run_rate(arguments: argparse.Namespace) -> None:
    departures = Departures(_table(arguments), _FASTEST)
    if arguments.command == "set-carrier-rate":
        departures.set_rate(arguments.rate)
    rate = departures.operators_rate()
    if rate is None:
        print("the stack's parameter CallsPerSecond")
    else:
        print(f"{rate.set:g} calls per second, {rate.effective:g} in effect")


def _run_suppression(arguments: argparse.Namespace) -> None:
    table = _table(arguments)
    TenantStore(table).require(arguments.tenant)
    suppression_list = SuppressionList(table, _pepper(arguments))
    is_new = arguments.command == "suppress"
    change = suppression_list.add if is_new else suppression_list.remove
    change(arguments.tenant, _read_number())
    print(f"{arguments.command}ed")


def _run_erasure(arguments: argparse.Namespace) -> None:
    table, tenant = _table(arguments), arguments.tenant
    erasures = ErasureStore(table)
    TenantStore(table).require(tenant)
    match arguments.command:
        case "erase-number":
            address = _read_number()
            number_hash = suppression.hash_address(_pepper(arguments), address)
            print(_progress(erasures.add(tenant, address, number_hash)))
        case "erase-tenant":
            if _read_line(f"This erases everything of {tenant}. Type its name: ") != tenant:
                raise Refused(f"That is not {tenant}. Nothing is erased.")
            key_store = ApiKeyStore(table)
            for key in key_store.list_keys(tenant):
                key_store.revoke(key.key_id)
            number_store = NumberStore(table)
            for number in number_store.list_numbers(tenant):
                number_store.remove(tenant, number.number)
            EndpointStore(table).forget(tenant)
            print(_progress(erasures.add(tenant, None, None)))
        case "list-erasures":
            for erasure in erasures.list_erasures(tenant):
                print(_progress(erasure))


def _read_number() -> str:
    """Reads stdin, because an argument would stay in the shell's history. Raises InvalidAddress."""
    return addresses.parse(_read_line("The number: "))


def _read_line(prompt: str) -> str:
    """A line of stdin. The prompt appears on a terminal only."""
    if sys.stdin.isatty():
        print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _progress(erasure: Erasure) -> str:
    erased = (erasure.number_hash or "everything")[:16]
    counts = f"{erasure.callbacks} callbacks here, {erasure.calls} calls at the carrier"
    done = f"done {to_text(erasure.finished_at)}" if erasure.finished_at else "not done"
    return f"{erasure.erasure_id}  {to_text(erasure.requested_at)}  {erased}  {counts}  {done}"


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "create-tenant": _run_tenants,
    "list-tenants": _run_tenants,
    "create-key": _run_keys,
    "list-keys": _run_keys,
    "revoke-key": _run_keys,
    "put-number": _run_numbers,
    "list-numbers": _run_numbers,
    "remove-number": _run_numbers,
    "set-policy": _run_policy,
    "show-policy": _run_policy,
    "kill-switch": _run_policy,
    "set-carrier-rate": _run_rate,
    "show-carrier-rate": _run_rate,
    "suppress": _run_suppression,
    "unsuppress": _run_suppression,
    "erase-number": _run_erasure,
    "erase-tenant": _run_erasure,
    "list-erasures": _run_erasure,
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        _RUN[arguments.command](arguments)
    except _REFUSALS as refusal:
        print(_reason(refusal, arguments.table), file=sys.stderr)
        return 1
    return 0


def _reason(refusal: Exception, table: str) -> str:
    """The refusal as a sentence. DynamoDB does not name a missing table."""
    code = refusal.response["Error"]["Code"] if isinstance(refusal, ClientError) else ""
    if code == "ResourceNotFoundException":
        return f"There is no table {table} in this account and region."
    return str(refusal)


if __name__ == "__main__":
    sys.exit(main())
