"""Where the measured functions send requests: AWS (moto) and a carrier, on 127.0.0.1.

Both run in this process, and the measured functions in others, so nothing of them is counted.
"""

import contextlib
import dataclasses
import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import certifi
import trustme

from callback.storage.table import Table
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.tenants import TenantStore
from tests.local import aws, environment, loopback, template
from tests.local.template import ACCOUNT, REGION, FunctionDefinition, Template
from tests.local.threaded_server import ThreadedServer
from tests.template import document

PUBLIC_URL = "https://callback.example.com"
TENANT = "default"  # the one of the requests in events/
NUMBER = "+14155550100"
# A tenant with much traffic. Where nothing is said, a tenant's defaults apply. Any hour, because a
# measurement runs at any hour.
POLICY = {
    "calling_window": "always",
    "calls_per_prefix": "1000/1h",
    "calls_per_tenant": "600/1m",
    "concurrent_callbacks": "1000",
    "daily_spend": "5000.00 USD",
    "fallback_caller_id": NUMBER,
}
_CALLS_PER_SECOND = "1000"  # no request waits for another one's departure
# Every execution ends at once: what a request costs does not depend on what the workflow does.
_WORKFLOW = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
_TEXTBOOK_TABLE = "textbook"
_TEXTBOOK_WORKFLOW = "textbook"


class NotRedirected(Exception):
    """A function would dial through another carrier than the local one."""


class Created(NamedTuple):
    """A call that was created: its sid, and where the carrier reports its progress."""

    sid: str
    status_url: str


class Carrier(ThreadedServer):
    """Answers each create request with a queued call, inside `with Carrier() as carrier:`."""

    def __init__(self, *, tls: bool = True) -> None:
        self.created: list[Created] = []
        self.authority = trustme.CA()
        carrier = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                form = parse_qs(self.rfile.read(length).decode())
                body = json.dumps(carrier.create(self.path.split("/")[3], form)).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("127.0.0.1").configure_cert(context)
        super().__init__(Handler, context)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def create(self, account: str, form: Mapping[str, list[str]]) -> dict[str, Any]:
        """A Call resource (Twilio docs, "Call resource")."""
        sid = "CA" + secrets.token_hex(16)
        self.created.append(Created(sid, form.get("StatusCallback", [""])[0]))
        uri = f"/2010-04-01/Accounts/{account}/Calls/{sid}"
        parts = ("notifications", "recordings", "payments", "events", "siprec", "streams")
        return {
            "account_sid": account,
            "annotation": None,
            "answered_by": None,
            "api_version": "2010-04-01",
            "caller_name": None,
            "date_created": None,
            "date_updated": None,
            "direction": "outbound-api",
            "duration": None,
            "end_time": None,
            "forwarded_from": None,
            "from": form["From"][0],
            "from_formatted": form["From"][0],
            "group_sid": None,
            "parent_call_sid": None,
            "phone_number_sid": "PN" + "0" * 32,
            "price": None,
            "price_unit": "USD",
            "queue_time": "0",
            "sid": sid,
            "start_time": None,
            "status": "queued",
            "subresource_uris": {part: f"{uri}/{part.title()}.json" for part in parts},
            "to": form["To"][0],
            "to_formatted": form["To"][0],
            "trunk_sid": None,
            "uri": f"{uri}.json",
        }


class World:
    """`account_sid` and `auth_token` are the carrier account's."""

    def __init__(
        self, aws_url: str, carrier: Carrier, authorities: Path, stack: Template, table: Table
    ) -> None:
        self.carrier = carrier
        self.account_sid = "AC" + secrets.token_hex(16)
        self.auth_token = secrets.token_hex(16)
        self.table = table
        self._aws_url = aws_url
        self._authorities = authorities
        self._functions = {function.logical_id: function for function in stack.functions}

    def function(self, logical_id: str) -> FunctionDefinition:
        """Raises NotRedirected if the function would dial through another carrier."""
        definition = self._functions[logical_id]
        url = definition.environment.get("CARRIER_API_URL", self.carrier.url)
        if url != self.carrier.url or not loopback.is_loopback_url(url):
            raise NotRedirected(logical_id)
        return definition

    def variables(self, logical_id: str) -> dict[str, str]:
        """The environment of one of our functions."""
        return {
            **environment.of_function(self.function(logical_id), self._aws_url),
            "REQUESTS_CA_BUNDLE": str(self._authorities),
        }

    def textbook_variables(self) -> dict[str, str]:
        """The environment of a textbook function. X-Ray is off, as it is in ours by default."""
        return {
            **environment.of_function(self._functions["CallbackApi"], self._aws_url),
            "CALLER_ID": NUMBER,
            "POWERTOOLS_METRICS_NAMESPACE": "Callback",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "REQUESTS_CA_BUNDLE": str(self._authorities),
            "STATE_MACHINE_ARN": f"arn:aws:states:{REGION}:{ACCOUNT}"
            f":stateMachine:{_TEXTBOOK_WORKFLOW}",
            "STATUS_URL": f"{PUBLIC_URL}/carrier/status",
            "TABLE_NAME": _TEXTBOOK_TABLE,
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWIML_URL": f"{PUBLIC_URL}/carrier/twiml",
        }


@contextlib.contextmanager
def run_world(work: Path, *, tls: bool = True) -> Iterator[World]:
    """AWS and the carrier for as long as the block lasts. `work` is a folder for files."""
    with Carrier(tls=tls) as carrier, aws.run_aws() as embedded:
        stack = template.load(
            document.TEMPLATE,
            {
                "CallsPerSecond": _CALLS_PER_SECOND,
                "CarrierApiUrl": carrier.url,
                "LogLevel": "WARN",
                "PublicUrl": PUBLIC_URL,
                "SipDomain": "pbx.example",
            },
        )
        (table,) = stack.tables
        world = World(
            embedded.url,
            carrier,
            _with_usual_authorities(carrier, work),
            stack,
            Table(embedded.dynamodb, table["TableName"]),
        )
        workflows = (
            *(dataclasses.replace(each, definition=_WORKFLOW) for each in stack.workflows),
            dataclasses.replace(stack.workflows[0], name=_TEXTBOOK_WORKFLOW, definition=_WORKFLOW),
        )
        embedded.create(dataclasses.replace(stack, workflows=workflows), _secrets(world, stack))
        embedded.dynamodb.create_table(
            TableName=_TEXTBOOK_TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        _add_tenant(world.table)
        yield world


def _with_usual_authorities(carrier: Carrier, work: Path) -> Path:
    """A bundle with the local authority and all that a client usually reads."""
    bundle = work / "authorities.pem"
    usual = Path(certifi.where()).read_bytes()
    bundle.write_bytes(usual + b"\n" + carrier.authority.cert_pem.bytes())
    return bundle


def _secrets(world: World, stack: Template) -> dict[str, Any]:
    values = {
        "CARRIER_SECRET_NAME": {
            "account_sid": world.account_sid,
            "auth_token": world.auth_token,
        },
        "KEY_PEPPER_NAME": secrets.token_hex(32),
    }
    return {
        function.environment[variable]: value
        for function in stack.functions
        for variable, value in values.items()
        if variable in function.environment
    }


def _add_tenant(table: Table) -> None:
    TenantStore(table).add_tenant(TENANT)
    NumberStore(table).put(TenantNumber(NUMBER, TENANT, owned=True))
    policies = PolicyStore(table)
    for field, text in POLICY.items():
        policies.set(TENANT, field, text)
