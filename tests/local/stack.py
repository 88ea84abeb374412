"""The whole service on this machine: embedded AWS, HTTP front, carrier, virtual clock."""

import contextlib
import importlib
import os
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.local import (
    aws,
    engine,
    events,
    front,
    functions,
    logs,
    loopback,
    outgoing,
    output_tap,
    pauses,
    tables,
    template,
    triggers,
)
from tests.local import (
    clock as clocks,
)
from tests.local.carrier import CarrierSimulator, Scripts, Settings, parameters
from tests.local.clock import Clock
from tests.local.logs import Line
from tests.local.receiver import Receiver

PROJECT = Path(__file__).resolve().parents[2]
# The SIP domain of short extensions; .example is a reserved domain.
SIP_DOMAIN = "pbx.example"
TENANT = "demo"
FASTEST = 1000  # calls per second: a rate that delays nothing
# Virtual seconds in which whatever is to happen to a callback has happened.
PATIENCE = 600.0
NUMBER = "+14155550100"  # the tenant's own at the carrier

# TENANT's number: its caller ID where a party's own number is not shown.
CALLER_ID = "+14155550199"
# Generous limits for local tenants: the carrier is a simulator, and tests make many requests.
GENEROUS = {
    "allowed_regions": "US,GB",
    "allowed_types": "fixed_line,mobile,fixed_line_or_mobile,voip",
    "any_caller_id_extension": "true",
    "calls_per_number": "unlimited",
    "calls_per_prefix": "unlimited",
    "calls_per_tenant": "1000000/1m",
    "concurrent_callbacks": "1000000",
    "daily_spend": "100000000.00 USD",
    "calling_window": "always",
}

Result = TypeVar("Result")

# moto and the functions' modules are one per process, and so is a stack.
_one_at_a_time = threading.Lock()


class CarrierNotRedirected(Exception):
    """A function would dial through a carrier that is neither the simulator nor the configured
    one."""


class LocalStack:
    """`with LocalStack(speed=10) as stack:` and the service answers at `stack.url`.

    speed: virtual seconds in a real one; or give a `clock` of your own, for tests a stepped one:
    time then passes only in `until` and while a request is answered. Ports: 0 takes a free
    one, and OSError is raised if one is taken. `carrier_settings` and `scripts` are the
    simulator's; `parameters` are the template's and come before what is set here. `on_log` gets
    each line that a function logs. Webhooks reach only the `receiver`, if one is given;
    `on_undelivered` gets the others. There is one tenant, TENANT, whose API key is
    `key`, as `Authorization: Bearer` takes it, and whose one number is NUMBER.

    `environ` may set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (default: made up), PUBLIC_URL
    (default: the front's own) and CARRIER_API_URL. With CARRIER_API_URL the stack uses that carrier
    and real time, and starts no simulator. Raises ValueError if one of the URLs is not a base URL.
    """

    url: str
    key: str
    clock: Clock
    carrier: CarrierSimulator | None
    carrier_url: str
    aws: aws.EmbeddedAws
    functions: functions.Functions
    bus: events.Bus
    logs: deque[Line]

    def __init__(
        self,
        speed: float = 1.0,
        port: int = 0,
        carrier_port: int = 0,
        *,
        host: str = "127.0.0.1",
        clock: Clock | None = None,
        carrier_settings: Settings | None = None,
        scripts: Scripts | None = None,
        project: Path = PROJECT,
        parameters: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
        on_log: Callable[[Line], None] | None = None,
        receiver: Receiver | None = None,
        on_undelivered: outgoing.Undelivered | None = None,
    ) -> None:
        self._chosen_carrier = _base_url(environ, "CARRIER_API_URL")
        if self._chosen_carrier and (speed != 1 or clock is not None):
            raise ValueError("a carrier elsewhere keeps its own time: speed must be 1")
        self.clock = clock or Clock(speed)
        self.account_sid = environ.get("TWILIO_ACCOUNT_SID") or f"AC{secrets.token_hex(16)}"
        self.auth_token = environ.get("TWILIO_AUTH_TOKEN") or secrets.token_hex(16)
        self._pepper = secrets.token_hex(32)
        output_tap.report_secret("the carrier's token", self.auth_token)
        output_tap.report_secret("the pepper", self._pepper)
        self._address = (host, port)
        self._carrier_port = carrier_port
        self._carrier_settings = carrier_settings
        self._scripts = scripts
        self._project = project
        self._parameters = dict(parameters or {})
        self._public_url = _base_url(environ, "PUBLIC_URL")
        self._on_log = on_log
        self._receiver = receiver
        self._on_undelivered = on_undelivered
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("a local stack is already running in this process")
        with contextlib.ExitStack() as starting:
            starting.callback(_one_at_a_time.release)
            self._start(starting)
            self._exit = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def _start(self, exit_stack: contextlib.ExitStack) -> None:
        enter = exit_stack.enter_context
        # Ports first: report a taken one before anything is started.
        listening = enter(contextlib.closing(front.bound(*self._address)))
        host, port = listening.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._start_carrier(exit_stack)
        self.template = self._read_template()
        self._check_redirect()

        self.logs = enter(logs.collected(self._on_log))
        self.aws = enter(aws.run_aws())
        tables.without_http(self.aws.dynamodb)
        if self.carrier is not None:
            enter(loopback.only())
        self.functions = enter(
            functions.loaded(self.template.functions, self.aws.url, self.clock.seconds)
        )
        if self.carrier is not None:
            outgoing.stay_here(
                self.functions, self._receiver, self._on_undelivered, clock=self.clock
            )
        # The service's timestamps and the carrier's agree.
        enter(pauses.virtual(self.clock))
        self.bus = events.Bus(self.template.rules, self.functions, self.clock)
        exit_stack.callback(self.bus.close)
        abandon_executions = enter(
            engine.correct_moto(self.functions, self.clock, self.bus.execution_changed)
        )
        self.aws.create(self.template, self._secrets())
        self.key = self.make_tenant(TENANT)
        self.make_number(
            NUMBER, TENANT, sms_to="1000125", sms_to_anyone=True, missed_call_to="1000125"
        )
        self.verify(TENANT, CALLER_ID)
        self.set_policy(TENANT, fallback_caller_id=CALLER_ID)
        enter(triggers.run_triggers(self.template, self.functions, self.aws, self.clock))
        door = front.Front(listening, self.template.routes, self.functions, self.clock)
        door.start()
        exit_stack.callback(door.close)
        # Otherwise closing would wait for threads in virtual waits.
        exit_stack.callback(self.clock.shut)
        exit_stack.callback(abandon_executions)
        if self.carrier is not None:
            # First: a carrier that keeps sending webhooks would get no answer.
            exit_stack.callback(self.carrier.stop)

    def _start_carrier(self, exit_stack: contextlib.ExitStack) -> None:
        self.carrier = None
        self.carrier_url = self._chosen_carrier
        if self._chosen_carrier:
            exit_stack.enter_context(clocks.run_loop(self.clock))
        else:
            self.carrier = CarrierSimulator(
                self.account_sid,
                self.auth_token,
                clock=self.clock,
                port=self._carrier_port,
                settings=self._carrier_settings,
                scripts=self._scripts,
            )
            self.carrier.start()
            exit_stack.callback(self.carrier.stop)
            self.carrier_url = self.carrier.url

    def _read_template(self) -> template.Template:
        parameters = {
            "CarrierApiUrl": self.carrier_url,
            "PublicUrl": self.public_url,
            "SipDomain": SIP_DOMAIN,
            "CallsPerSecond": str(FASTEST),
            **self._parameters,
        }
        return template.load(self._project / "template.yaml", parameters)

    def _check_redirect(self) -> None:
        """Check that every function with a carrier address has this one, before anything is
        dialed."""
        api_urls = {
            function.logical_id: function.environment["CARRIER_API_URL"]
            for function in self.template.functions
            if "CARRIER_API_URL" in function.environment
        }
        if not api_urls:
            raise CarrierNotRedirected("no function has the variable CARRIER_API_URL")
        for logical_id, url in api_urls.items():
            if url != self.carrier_url:
                raise CarrierNotRedirected(f"{logical_id} would dial through {url or 'Twilio'}")
        if not self._chosen_carrier and not loopback.is_loopback_url(self.carrier_url):
            raise CarrierNotRedirected(f"{self.carrier_url} is not on this machine")

    def _secrets(self) -> dict[str, Any]:
        credentials = {"account_sid": self.account_sid, "auth_token": self.auth_token}
        values = {"CARRIER_SECRET_NAME": credentials, "KEY_PEPPER_NAME": self._pepper}
        return {
            function.environment[variable]: value
            for function in self.template.functions
            for variable, value in values.items()
            if variable in function.environment
        }

    @property
    def table_name(self) -> str:
        """Of the one table."""
        (table,) = self.template.tables
        return str(table["TableName"])

    def _table(self) -> Any:
        # The package is on the path once the functions are loaded.
        return importlib.import_module("callback.storage.table").Table(
            self.aws.dynamodb, self.table_name
        )

    def make_key(self, tenant: str, *scopes: str) -> str:
        """A new API key of a tenant that exists; without scopes it may do everything."""
        api_keys = importlib.import_module("callback.tenancy.api_keys")
        store = api_keys.ApiKeyStore(self._table())
        chosen = [api_keys.Scope(scope) for scope in scopes or api_keys.Scope]
        key, secret = api_keys.create_key(store, self._pepper, tenant, chosen)
        output_tap.report_secret("an API key's secret", secret)
        return f"{key.key_id}.{secret}"

    def make_tenant(self, tenant: str) -> str:
        """Add a tenant with generous limits (GENEROUS). Returns its first key, which has all
        scopes."""
        tenants = importlib.import_module("callback.tenancy.tenants")
        tenants.TenantStore(self._table()).add_tenant(tenant)
        self.set_policy(tenant, **GENEROUS)
        return self.make_key(tenant)

    def set_policy(self, tenant: str, **fields: str) -> None:
        """Set a policy. Functions cache policies, so it may take some virtual seconds to take
        effect."""
        policy_store = importlib.import_module("callback.tenancy.policy_store")
        store = policy_store.PolicyStore(self._table())
        for field, text in fields.items():
            store.set(tenant, field, text)

    def verify(self, tenant: str, number: str) -> None:
        """The tenant may show this number from here on."""
        numbers = importlib.import_module("callback.tenancy.numbers")
        store = numbers.NumberStore(self._table())
        store.put(numbers.TenantNumber(number, tenant, owned=False))

    def make_number(self, number: str, tenant: str, **takes: Any) -> None:
        """A tenant's own number, at the simulated carrier too, shown where there is no other to
        show; `takes` is what `numbers.TenantNumber` has of it."""
        numbers = importlib.import_module("callback.tenancy.numbers")
        owned = numbers.TenantNumber(number, tenant, owned=True, **takes)
        numbers.NumberStore(self._table()).put(owned)
        self.set_policy(tenant, fallback_caller_id=number)
        if self.carrier is not None:
            sms_url = f"{self.public_url}/carrier/trigger/sms"
            voice_url = f"{self.public_url}/carrier/trigger/call#rc=2&rp=all"
            exchange = self.carrier.exchange
            self.carrier.call(
                lambda: exchange.add_number(number, sms_url=sms_url, voice_url=voice_url)
            )

    @property
    def public_url(self) -> str:
        """Where the carrier reaches the service."""
        return self._public_url or self.url

    def history(self, callback_id: str) -> list[dict[str, Any]]:
        """Every event of a callback's execution, oldest first."""
        (workflow,) = self.template.workflows
        arn = workflow.arn.replace(":stateMachine:", ":execution:")
        return self.aws.history(f"{arn}:{callback_id}")

    def billed_transitions(self, callback_id: str) -> int:
        """State transitions that AWS would bill for a callback so far."""
        return aws.billed_transitions(self.history(callback_id))

    def until(self, condition: Callable[[], Result], within: float = PATIENCE) -> Result:
        """The first true value of `condition`, which depends on the table alone, within so many
        virtual seconds. Raises clock.NotInTime."""
        return self.clock.until(condition, within, lambda: self.aws.writes)

    def invocations(self) -> dict[str, int]:
        """Lambda invocations so far, by logical id."""
        return dict(self.functions.invocations)


def _base_url(environ: Mapping[str, str], variable: str) -> str:
    """Empty where the variable is. Raises ValueError."""
    url = environ.get(variable, "")
    if url and (not parameters.is_url(url) or re.search(r"[\s?#@]|/$", url)):
        raise ValueError(
            f"{variable} is {url!r}: give the beginning of a URL, such as"
            " https://api.example.com, without a slash at the end"
        )
    return url
