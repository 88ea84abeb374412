"""The whole service and its clock, with `reconcile` once a minute as it is deployed."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import requests
from twilio.request_validator import RequestValidator

from tests.local.carrier.calls import Call
from tests.local.carrier.scripts import Behaviour, Scripts
from tests.support.world import ACCOUNT_SID, AUTH_TOKEN, SeenCall, World, whole_steps

MINUTE = 60.0
STEP = 0.5  # virtual seconds between two checks: the precision of measured times
PHASES = (1, 14, 31, 59)  # seconds from the start of a play to its first minute


class Play:
    """One scenario. `first_minute`: seconds until `reconcile` runs for the first time, because the
    time to a repair depends on the second of the minute at which the fault occurs."""

    def __init__(self, world: World, first_minute: float = MINUTE) -> None:
        self.world = world
        world.reset()
        self.began = world.clock.seconds()
        self._next_minute = self.began + first_minute
        self.every_minute: list[Callable[[], Any]] = [world.reconcile, world.plan_departures]

    # -- clients ---------------------------------------------------------------------------------

    def post(
        self, a: str, b: str = "1000218", key: str | None = None, **fields: Any
    ) -> dict[str, Any] | None:
        """POST a callback. None: the function was killed."""
        body = {"leg_A": {"to": a}, "leg_B": {"to": b}, **fields}
        return self.world.request("POST", body=body, **({"idempotency-key": key} if key else {}))

    def accepted(self, a: str, b: str = "1000218", **fields: Any) -> str:
        """POST a callback that must be accepted. Returns its id."""
        answer = self.post(a, b, **fields)
        assert answer is not None
        assert answer["statusCode"] == 202, answer
        return str(json.loads(answer["body"])["callback_id"])

    def the_only_id(self) -> str:
        """The id of the only stored callback."""
        (callback_id,) = self.world.records()
        return callback_id

    def record(self, callback_id: str) -> dict[str, Any]:
        """The record that a client gets."""
        answer = self.world.request("GET", callback_id)
        assert answer is not None
        record: dict[str, Any] = json.loads(answer["body"])
        return record

    def has_ended(self, callback_id: str) -> bool:
        return self.world.records()[callback_id]["status"]["S"] == "ended"

    # -- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the play began."""
        return self.world.clock.seconds() - self.began

    def let(self, seconds: float, step: float = STEP) -> None:
        """Let time pass, each minute with its `reconcile`."""
        end = self.world.clock.seconds() + seconds
        while (now := self.world.clock.seconds()) < end:
            if now >= self._next_minute:
                self._next_minute += MINUTE
                for work in self.every_minute:
                    work()
            self.world.let(min(end, self._next_minute) - now, step)

    def until(self, condition: Callable[[], bool], within: float, step: float = STEP) -> float:
        """Virtual seconds until the condition holds; fails if that takes longer than `within`."""
        began = self.world.clock.seconds()
        while not condition():
            waited = self.world.clock.seconds() - began
            assert waited < within, (f"not within {within} s", self.world.records(), self.calls())
            # Only due work can make the condition true, so this skips to the next due moment.
            rest = min(self.world.rest(), within - waited, self._next_minute - began - waited)
            self.let(whole_steps(rest, step), step)
        return self.world.clock.seconds() - began

    def ended(self, callback_id: str, within: float) -> dict[str, Any]:
        """The record once it has ended."""
        self.until(lambda: self.has_ended(callback_id), within)
        return self.record(callback_id)

    def at(self, text: str | datetime | None) -> float:
        """A moment of a record or of the carrier, as virtual seconds since the play began."""
        assert text is not None
        moment = datetime.fromisoformat(text) if isinstance(text, str) else text
        return (moment - self.world.clock.at(self.began)).total_seconds()

    # -- the carrier -----------------------------------------------------------------------------

    def calls(self, leg: str | None = None) -> list[SeenCall]:
        return [call for call in self.world.calls() if leg in (None, call.leg)]

    def call(self, leg: str) -> Call:
        """The one call that was made for a leg, as the carrier has it."""
        (seen,) = self.calls(leg)
        return self.world.carrier.exchange.calls[seen.sid]

    def heard(self, leg: str) -> list[tuple[float, str]]:
        """(second, what) of everything that a leg's party heard."""
        return [(self.at(line["at"]), line["hears"]) for line in self.call(leg).lines]

    def party(self, to: str, **part: Any) -> str:
        """Script the behaviour of the party at `to`. Returns `to`."""
        scripts = self.world.carrier.exchange.scripts
        self.world.carrier.call(scripts.set, to, Behaviour(**part))
        return to

    def webhook(self, path: str, **form: str) -> requests.Response:
        """Send a webhook signed as the carrier would. Returns the response."""
        fields = {"AccountSid": ACCOUNT_SID, **form}
        url = self.world.url + path
        signature = RequestValidator(AUTH_TOKEN).compute_signature(url, fields)
        headers = {"X-Twilio-Signature": signature}
        return requests.post(url, data=fields, headers=headers)

    # -- trouble ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def whenever(
        self, point: str, work: Callable[[], Any], *, times: int = 1, skip: int = 0
    ) -> Iterator[list[float]]:
        """Run `work` at a fault point: let time pass, send a request, raise.

        Yields the list of the moments at which it ran."""
        faults, reach, done, seen = self.world.faults, self.world.faults.reach, [], []

        def reached(at: str) -> None:
            if at == point:
                seen.append(at)
                if len(seen) > skip and len(done) < times:
                    done.append(self.now)
                    work()
            reach(at)

        faults.reach = reached  # type: ignore[method-assign]
        try:
            yield done
        finally:
            del faults.reach  # type: ignore[method-assign]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def tidy(world: World) -> None:
    """Before the next scenario: end all calls and reset all scripts to the defaults."""
    world.heal()

    def hang_up_all() -> None:
        exchange = world.carrier.exchange
        for call in list(exchange.calls.values()):
            call.finish("completed")
        exchange.scripts.rules, exchange.scripts.default = Scripts().rules, Scripts().default

    world.carrier.call(hang_up_all)
    world.carrier.advance(3)
