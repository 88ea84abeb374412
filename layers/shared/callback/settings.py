"""The environment variables of each function, read once at cold start.

Each function folder has one class. The field `table_name` is the variable `TABLE_NAME`.
A test compares these classes with template.yaml, so no variable is missing or unused.
A value may be empty where a comment says what that means.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self, dataclass_transform

from callback.errors import MissingSetting


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
class _FromEnvironment:
    """Makes every subclass a frozen dataclass without generated methods.

    `dataclass` would compile `__init__`, `__eq__` and `__repr__` for every class here, at the cold
    start of every function.
    """

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, init=False, eq=False, repr=False)(cls)

    def __init__(self, **values: str) -> None:
        vars(self).update(values)

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises MissingSetting, which names every absent variable."""
        names = {field.name: field.name.upper() for field in fields(cls)}  # type: ignore[arg-type]
        missing = sorted(name for name in names.values() if name not in environment)
        if missing:
            raise MissingSetting(", ".join(missing))
        return cls(**{field: environment[name] for field, name in names.items()})


class CarrierSettings(_FromEnvironment):
    """The variables needed to end a call."""

    table_name: str
    carrier_secret_name: str
    carrier_api_url: str  # empty: Twilio itself


class DialSettings(CarrierSettings):
    """The variables needed to place a call."""

    public_url: str
    sip_domain: str  # empty: extensions cannot be dialed


class PaceSettings(DialSettings):
    """The variables needed to place a call at its departure."""

    calls_per_second: str  # the deployment's rate; an operator may set another one
    departure_queue_url: str


class StartSettings(PaceSettings):
    """The variables needed to start a callback."""

    state_machine_arn: str
    key_pepper_name: str
    home_region: str


class AcceptSettings(StartSettings):
    """The variables needed to accept a callback."""

    retention_days: str


class CallbackApi(AcceptSettings):
    settle_queue_url: str
    require_idempotency_key: str  # "true" or "false"


class Trigger(CallbackApi):
    trigger_queue_url: str


class Authorizer(_FromEnvironment):
    table_name: str
    key_pepper_name: str


class ErasureApi(_FromEnvironment):
    table_name: str
    key_pepper_name: str


class CarrierWebhook(_FromEnvironment):
    table_name: str
    calls_per_second: str
    carrier_secret_name: str
    public_url: str
    settle_queue_url: str


class TriggerEvent(_FromEnvironment):
    table_name: str
    trigger_queue_url: str


class ApiDocs(_FromEnvironment):
    public_url: str
    require_idempotency_key: str  # "true" or "false"


class Reconcile(DialSettings):
    calls_per_second: str
    state_machine_arn: str


class PlanDepartures(_FromEnvironment):
    table_name: str
    calls_per_second: str
    departure_queue_url: str


class Erase(CarrierSettings):
    sip_domain: str  # empty: extensions cannot be dialed


class SettleCallback(_FromEnvironment):
    table_name: str


class PublishEvents(_FromEnvironment):
    table_name: str
    delivery_queue_url: str
    event_bus_name: str
    bus_events: str  # "callbacks" or "all"


class NotifyClient(_FromEnvironment):
    table_name: str
    delivery_queue_url: str


WebhookApi = ResumeDeliveries = NotifyClient
AcceptTrigger = AcceptSettings
PlaceLeg = PaceSettings
UseDeparture = StartSettings
CloseCallback = CarrierSettings
