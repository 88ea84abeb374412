"""The environment of each function, read once at cold start. A missing variable fails by name.

One class per function folder: the field `table_name` is the variable `TABLE_NAME`. A test
holds these classes against template.yaml, so a variable is neither missing nor left over.
An empty value is allowed where the comment says what it means.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from callback.errors import MissingSetting


class _FromEnvironment:
    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises MissingSetting naming every absent variable."""
        names = {field.name: field.name.upper() for field in fields(cls)}  # type: ignore[arg-type]
        missing = sorted(name for name in names.values() if name not in environment)
        if missing:
            raise MissingSetting(", ".join(missing))
        return cls(**{field: environment[name] for field, name in names.items()})


@dataclass(frozen=True)
class CarrierSettings(_FromEnvironment):
    """What it takes to end a call."""

    table_name: str
    carrier_secret_name: str
    carrier_api_url: str  # empty: Twilio itself


@dataclass(frozen=True)
class DialSettings(CarrierSettings):
    """What it takes to place a call."""

    public_url: str
    sip_domain: str  # empty: extensions cannot be dialed


@dataclass(frozen=True)
class AcceptSettings(DialSettings):
    """What it takes to accept a callback."""

    state_machine_arn: str
    key_pepper_name: str
    home_region: str
    retention_days: str


@dataclass(frozen=True)
class CallbackApi(AcceptSettings):
    settle_queue_url: str
    require_idempotency_key: str  # "true" or "false"


@dataclass(frozen=True)
class Trigger(CallbackApi):
    trigger_queue_url: str


@dataclass(frozen=True)
class Authorizer(_FromEnvironment):
    table_name: str
    key_pepper_name: str


@dataclass(frozen=True)
class ErasureApi(_FromEnvironment):
    table_name: str
    key_pepper_name: str


@dataclass(frozen=True)
class CarrierWebhook(_FromEnvironment):
    table_name: str
    carrier_secret_name: str
    public_url: str
    settle_queue_url: str


@dataclass(frozen=True)
class TriggerEvent(_FromEnvironment):
    table_name: str
    trigger_queue_url: str


@dataclass(frozen=True)
class ApiDocs(_FromEnvironment):
    public_url: str
    require_idempotency_key: str  # "true" or "false"


@dataclass(frozen=True)
class Reconcile(DialSettings):
    state_machine_arn: str


@dataclass(frozen=True)
class Erase(CarrierSettings):
    sip_domain: str  # empty: extensions cannot be dialed


@dataclass(frozen=True)
class SettleCallback(_FromEnvironment):
    table_name: str


@dataclass(frozen=True)
class PublishEvents(_FromEnvironment):
    table_name: str
    delivery_queue_url: str
    event_bus_name: str


@dataclass(frozen=True)
class NotifyClient(_FromEnvironment):
    table_name: str
    delivery_queue_url: str


WebhookApi = NotifyClient
AcceptTrigger = AcceptSettings
PlaceLeg = DialSettings
CloseCallback = CarrierSettings
