"""Tenants: keys, numbers, policies, and forgetting. From a shell: python -m callback.admin --help

Talks to the AWS of your credentials and region, or to the one that AWS_ENDPOINT_URL names.
"""

import argparse
import sys
from collections.abc import Sequence

from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import BotoCoreError, ClientError

from callback import addresses, aws, numbering, numbers, policy, prices, suppression, tenants
from callback.endpoints import EndpointStore
from callback.erasures import Erasure, ErasureStore
from callback.models import Scope, to_text
from callback.numbers import NumberStore, TenantNumber
from callback.policy import PolicyStore
from callback.suppression import SuppressionList
from callback.tenants import ApiKey, Pepper, TenantStore

_REFUSALS = (
    BotoCoreError,
    ClientError,
    GetParameterError,
    addresses.InvalidAddress,
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


_OF_POLICY = ("set-policy", "show-policy", "kill-switch")


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
    put = command("put-number", "A number of a tenant's, and what it takes as a trigger.")
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
        "Revoke a tenant's keys, let go of its numbers and endpoint, forget its callbacks.",
    )
    everything.add_argument("tenant")
    erased = command("list-erasures", "What was and is to be forgotten of a tenant, newest first.")
    erased.add_argument("tenant")
    remove = command("remove-number", "The number is nobody's from now on.")
    remove.add_argument("tenant")
    remove.add_argument("number", type=_number)
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
    return parser.parse_args(given)


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("give it as field=value")
    return name, value


def _number(text: str) -> str:
    if not numbering.is_e164(text):
        raise argparse.ArgumentTypeError("give it as E.164, such as +14155550100")
    return text


def _address(text: str) -> str:
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as refused:
        raise argparse.ArgumentTypeError(refused.detail) from None


def _run(arguments: argparse.Namespace) -> None:
    store = TenantStore(aws.dynamodb(), arguments.table)
    held = NumberStore(aws.dynamodb(), arguments.table)
    match arguments.command:
        case "create-tenant":
            store.add_tenant(arguments.tenant)
            print(f"tenant   {arguments.tenant}")
        case "create-key":
            pepper = Pepper(arguments.pepper, SSMProvider(boto3_client=aws.ssm())).get()
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

        case "put-number":
            number = TenantNumber(
                number=arguments.number,
                tenant=arguments.tenant,
                owned=not arguments.verified,
                sms_to=arguments.sms_to,
                sms_to_anyone=arguments.sms_to_anyone,
                missed_call_to=arguments.missed_call_to,
            )
            held.put(number)
            print(_told(number))
        case "list-numbers":
            for number in held.of(arguments.tenant):
                print(_told(number))
        case "suppress" | "unsuppress":
            _run_suppression(arguments, store)
        case "erase-number" | "erase-tenant" | "list-erasures":
            _run_erasure(arguments, store, held)
        case "remove-number":
            held.remove(arguments.tenant, arguments.number)
            print(f"removed  {arguments.number}")


def _run_policy(arguments: argparse.Namespace) -> None:
    held = NumberStore(aws.dynamodb(), arguments.table)
    policies = PolicyStore(aws.dynamodb(), arguments.table)
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
    value = policy.parsed(field, text)
    if field == "allowed_regions" and not value <= numbering.REGIONS:
        raise policy.InvalidValue("allowed_regions: give ISO 3166 codes, such as US,CA.")
    if field == "daily_spend" and value.currency != prices.read().currency:
        raise policy.InvalidValue(f"daily_spend: prices are in {prices.read().currency}.")
    if field == "fallback_caller_id" and value:
        number = held.get(value)
        if number is None or number.tenant != tenant:
            raise policy.InvalidValue("fallback_caller_id: give a number of the tenant's.")


def _show_policy(policies: PolicyStore, tenant: str) -> None:
    for field, text in policy.shown(policies.get(tenant)).items():
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


def _run_suppression(arguments: argparse.Namespace, store: TenantStore) -> None:
    store.require(arguments.tenant)
    pepper = Pepper(arguments.pepper, SSMProvider(boto3_client=aws.ssm()))
    suppressed = SuppressionList(aws.dynamodb(), arguments.table, pepper)
    change = suppressed.add if arguments.command == "suppress" else suppressed.remove
    change(arguments.tenant, _typed())
    print(f"{arguments.command}ed")


def _run_erasure(arguments: argparse.Namespace, store: TenantStore, held: NumberStore) -> None:
    erasures, tenant = ErasureStore(aws.dynamodb(), arguments.table), arguments.tenant
    store.require(tenant)
    match arguments.command:
        case "erase-number":
            address = _typed()
            pepper = Pepper(arguments.pepper, SSMProvider(boto3_client=aws.ssm()))
            hashed = suppression.hashed(pepper, address)
            print(_progress(erasures.add(tenant, address, hashed)))
        case "erase-tenant":
            for key in store.keys(tenant):
                store.revoke(key.key_id)
            for number in held.of(tenant):
                held.remove(tenant, number.number)
            EndpointStore(aws.dynamodb(), arguments.table).forget(tenant)
            print(_progress(erasures.add(tenant, None, None)))
        case "list-erasures":
            for erasure in erasures.of(tenant):
                print(_progress(erasure))


def _typed() -> str:
    """Not an argument: those stay in the shell's history. Raises InvalidAddress."""
    return addresses.parse(sys.stdin.readline().strip())


def _progress(erasure: Erasure) -> str:
    whom = (erasure.number_hash or "everybody")[:16]
    counted = f"{erasure.callbacks} callbacks here, {erasure.calls} calls at the carrier"
    done = f"done {to_text(erasure.finished_at)}" if erasure.finished_at else "not done"
    return f"{erasure.erasure_id}  {to_text(erasure.requested_at)}  {whom}  {counted}  {done}"


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    run = _run_policy if arguments.command in _OF_POLICY else _run
    try:
        run(arguments)
    except _REFUSALS as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
