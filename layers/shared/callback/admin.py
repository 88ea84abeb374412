"""Tenants and their API keys, from a shell: python -m callback.admin --help

Talks to the AWS of your credentials and region, or to the one that AWS_ENDPOINT_URL names.
"""

import argparse
import sys
from collections.abc import Sequence

from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import BotoCoreError, ClientError

from callback import aws, tenants
from callback.models import Scope, to_text
from callback.tenants import ApiKey, Pepper, TenantStore

_REFUSALS = (
    BotoCoreError,
    ClientError,
    GetParameterError,
    tenants.InvalidTenant,
    tenants.NoSuchKey,
    tenants.NoSuchTenant,
    tenants.PepperTooShort,
    tenants.TenantExists,
)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m callback.admin", description="Tenants and their API keys."
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
    return parser.parse_args(given)


def _run(arguments: argparse.Namespace) -> None:
    store = TenantStore(aws.dynamodb(), arguments.table)
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


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


def main(given: Sequence[str] | None = None) -> int:
    try:
        _run(_arguments(given))
    except _REFUSALS as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
