"""What a tenant may do: its policy, and whether calls are stopped.

Plain data. `policy_text` reads and writes the fields as texts, `policy_store` stores them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import time
from enum import StrEnum

from callback.amounts import MICROS, Money, Rate
from callback.numbering.number_types import NumberType

# All that a policy can allow. The owners of other types earn money with each call, or the
# destination is unknown.
ALLOWABLE_TYPES = frozenset(
    {
        NumberType.FIXED_LINE,
        NumberType.MOBILE,
        NumberType.FIXED_LINE_OR_MOBILE,
        NumberType.VOIP,
        NumberType.TOLL_FREE,
    }
)


class WhenFull(StrEnum):
    REFUSE = "refuse"
    WAIT = "wait"


@dataclass(frozen=True)
class CallingWindow:
    """From `start` to just before `end`, local time, on `days` (0 is Monday)."""

    start: time
    end: time | None  # None: midnight
    days: frozenset[int]


_DAILY_SPEND = Money(50 * MICROS, "USD")


@dataclass(frozen=True)
class Policy:
    """Defaults apply to tenants without an explicit policy. With them, a stranger can do little
    harm.

    allowed_regions: ISO 3166 codes. Empty: the deployment's home region.
    allowed_types: VOIP is off by default because anybody can rent such numbers anonymously by the
        thousand, as traffic pumping does. TOLL_FREE is off by default because the number's owner
        pays for each call and its carrier earns money with it.
    longest_extension: digits. Longer digits that are no valid telephone number are not called,
        because a PBX may dial them as one.
    allowed_sip_hosts: in addition to the deployment's own SIP domain.
    fallback_caller_id: a number of the tenant. It is shown if the client gives no caller ID and
        the other party's number is not the tenant's.
    any_caller_id_extension: whether a party at a PBX may be shown any extension.
    calls_per_number, calls_per_prefix: to one number, and to the 10,000 numbers that differ in the
        last four digits. The tenant's own and verified numbers are not counted.
    waiting_callbacks: how many may wait to be started.
    when_full: what happens to a callback for which the limits on concurrent callbacks and on rates
        have no room.
    calling_window: in the called party's time zone. A number with several zones must be inside in
        all of them. None: any hour.
    pbx_zone: the time zone of extensions and sip: addresses. None: they are called at any hour.
    """

    enabled: bool = True
    allowed_regions: frozenset[str] = frozenset()
    allowed_types: frozenset[NumberType] = frozenset(
        {NumberType.FIXED_LINE, NumberType.MOBILE, NumberType.FIXED_LINE_OR_MOBILE}
    )
    longest_extension: int = 7
    allowed_sip_hosts: frozenset[str] = frozenset()
    fallback_caller_id: str | None = None
    any_caller_id_extension: bool = False
    calls_per_number: tuple[Rate, ...] = (Rate(3, 600), Rate(10, 86_400))
    calls_per_prefix: tuple[Rate, ...] = (Rate(20, 3600),)
    calls_per_tenant: tuple[Rate, ...] = (Rate(60, 60),)
    concurrent_callbacks: int = 10
    waiting_callbacks: int = 1000
    when_full: WhenFull = WhenFull.REFUSE
    daily_spend: Money = _DAILY_SPEND
    # The hours in which US law lets consumers be called (16 CFR 310.4(c)).
    calling_window: CallingWindow | None = CallingWindow(time(8), time(21), frozenset(range(7)))
    pbx_zone: str | None = None
    require_idempotency_key: bool = False

    def regions(self, home_region: str) -> Collection[str]:
        """ISO 3166 codes of the regions that the tenant may call."""
        return self.allowed_regions or {home_region}


@dataclass(frozen=True)
class Standing:
    """A tenant's policy and the switch for all tenants. `stopped`: that switch is on."""

    policy: Policy
    stopped: bool = False

    @property
    def may_call(self) -> bool:
        return self.policy.enabled and not self.stopped
