"""A process dies at each crash point of the dial protocol, for each response of the carrier.

A leg is called at most once. A create request is sent again only if the first certainly had no
effect. The callback ends, whether its client sends the request again or not.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pytest
import requests

from callback.numbering.addresses import user_part
from tests.support import world
from tests.support.faults import Killed
from tests.support.play import Play, tidy

PARTIES = {"A": "1000219", "B": "1000218"}  # A never hangs up; B does 5 s after joining
REFUSED = "1000207"
RING_SECONDS = 30
KEY = "key-of-the-crash-matrix"

# The seconds at which the client sends the request again: while the first may still be in progress,
# and later.
RETURNS = {"client gone": (), "client back": (1, 35)}

# The carrier's response to the leg's first create request: a fault of the simulator, or the error
# that the client library raises after the request was sent.
CARRIER = {
    "accepted": None,
    "429": "429",
    "4xx": None,  # REFUSED is called instead
    "5xx-created": "500-after",
    "5xx-not-created": "500-before",
    "timeout-created": requests.ReadTimeout("no answer in time"),
    "reset-created": "reset-after",
}


class Crash:
    """A play in which one process dies once, at one crash point of one leg."""

    def __init__(self, play: Play, point: "Point", carrier: str, leg: str) -> None:
        self.play = play
        self.died = False
        self.sent: list[str] = []  # the called party of each create request that was sent
        self._point = point
        self._carrier = CARRIER[carrier]
        self._leg = leg
        self.parties = PARTIES | ({leg: REFUSED} if carrier == "4xx" else {})

    @contextlib.contextmanager
    def inject(self) -> Iterator[None]:
        faults, send = self.play.world.faults, requests.Session.send

        def reach(name: str) -> None:
            if not self.died and name == self._point.name and self._point.when(self):
                self.died = True
                raise Killed(name)

        def send_and_record(
            session: requests.Session, request: requests.PreparedRequest, **how: object
        ) -> requests.Response:
            if request.method != "POST" or not str(request.url).endswith("/Calls.json"):
                return send(session, request, **how)  # type: ignore[arg-type]
            to = user_part(parse_qs(str(request.body))["To"][0])
            try:
                answer = send(session, request, **how)  # type: ignore[arg-type]
            finally:
                self.sent.append(to)
            if isinstance(self._carrier, Exception) and to == self.party:
                raise self._carrier
            return answer

        if isinstance(self._carrier, str):
            self.play.world.carrier_fault(
                self._carrier, where="POST .*/Calls.json", to=self.party, times=1
            )
        with (
            mock.patch.object(faults, "reach", reach),
            mock.patch.object(requests.Session, "send", send_and_record),
        ):
            yield

    @property
    def party(self) -> str:
        return self.parties[self._leg]

    def create_returned(self) -> bool:
        """The create request has returned, with a response or an error."""
        return self.party in self.sent

    def dialing(self) -> bool:
        leg = f"leg_{self._leg.lower()}"
        return any(r[leg]["M"]["status"]["S"] == "dialing" for r in self.records())

    def recorded(self) -> bool:
        return self.create_returned() and not self.dialing()

    def ended(self) -> bool:
        return any(record["status"]["S"] == "ended" for record in self.records())

    def records(self) -> list[dict[str, Any]]:
        return list(self.play.world.records().values())


@dataclass(frozen=True)
class Point:
    """A process dies at the fault point `name`, the first time that `when` is true there."""

    name: str
    when: Callable[[Crash], bool] = lambda _: True


# The crash points of the dial protocol. The two points of a row are equivalent.
CRASHES = {
    "C0": {"nothing is written": Point("before dynamodb.transact_write_items")},
    "C1": {"the callback is stored and claimed": Point("after dynamodb.transact_write_items")},
    "C2": {
        "the request is about to go": Point("before carrier.request", Crash.dialing),
        "the leg is claimed": Point("after dynamodb.put_item", Crash.dialing),
    },
    # C3 and C4 are one: the result is written without reading anything first.
    "C4": {"the answer is not recorded": Point("before dynamodb.put_item", Crash.create_returned)},
    "C5": {
        "nothing is done after the record": Point("after dynamodb.put_item", Crash.recorded),
        "the token is not stored": Point("before dynamodb.put_item", Crash.recorded),
    },
    "C6": {"the workflow is not woken at the end": Point("after dynamodb.put_item", Crash.ended)},
}


@dataclass(frozen=True)
class Required:
    """The create requests sent and calls placed for the leg, and the outcome of the callback."""

    sent: int
    placed: int
    outcome: str


TALK = Required(sent=1, placed=1, outcome="completed")
TRIED_AGAIN = Required(sent=2, placed=1, outcome="completed")  # certainly not sent the first time
REJECTED = Required(sent=1, placed=0, outcome="{place}_leg_rejected")
UNKNOWN = Required(sent=1, placed=0, outcome="{place}_leg_dial_outcome_unknown")
NEVER_SENT = Required(sent=0, placed=0, outcome="{place}_leg_dial_outcome_unknown")

# Sent a second time once the carrier has certainly no call of the first.
SENT_TWICE = Required(sent=2, placed=1, outcome="completed")
REJECTED_TWICE = Required(sent=2, placed=0, outcome="{place}_leg_rejected")

_KNOWN_RESULT = (TALK, TRIED_AGAIN, REJECTED, TALK, UNKNOWN, TALK, TALK)

# One row for each crash point, in the order of CARRIER. A first leg is dialed once more.
REQUIRED_OF_A = {
    "C0": _KNOWN_RESULT,
    "C1": _KNOWN_RESULT,
    "C2": _KNOWN_RESULT,
    "C4": (TALK, SENT_TWICE, REJECTED_TWICE, TALK, SENT_TWICE, TALK, TALK),
    "C5": _KNOWN_RESULT,
    "C6": _KNOWN_RESULT,
}

# The second leg has no C0 and no C1.
REQUIRED_OF_B = {
    **REQUIRED_OF_A,
    "C2": (NEVER_SENT,) * 7,
    "C4": (TALK, UNKNOWN, UNKNOWN, TALK, UNKNOWN, TALK, TALK),
}

# At this second of the minute `reconcile` runs just too early, and runs again a minute later.
WORST_MINUTE = 14

# From the POST: the ring timeout, and the delay that a lost process may cause. A carrier that fails
# as well may cause another minute.
ENDED_WITHIN_SECONDS = RING_SECONDS + 90
ENDED_AFTER_BOTH_WITHIN_SECONDS = ENDED_WITHIN_SECONDS + 60


@pytest.fixture
def play(the_world: world.World) -> Iterator[Play]:
    yield Play(the_world, first_minute=WORST_MINUTE)
    tidy(the_world)


def cells() -> Iterator[tuple[str, str]]:
    for crash in CRASHES:
        for carrier in CARRIER:
            yield crash, carrier


def required(crash: str, carrier: str, leg: str) -> Required:
    rows = {"A": REQUIRED_OF_A, "B": REQUIRED_OF_B}[leg]
    return dict(zip(CARRIER, rows[crash], strict=True))[carrier]


def plays(crash: str) -> Iterator[tuple[str, str, str]]:
    """(leg, point, client) for a crash row: each point, leg and client once."""
    first, *others = CRASHES[crash]
    yield "A", first, "client gone"
    yield "A", first, "client back"
    for other in others:
        # The transaction that stores the callback also claims its first leg.
        yield "B" if other == "the leg is claimed" else "A", other, "client gone"
    if crash not in ("C0", "C1"):
        yield "B", first, "client gone"


PLAYS = [
    pytest.param(
        crash, carrier, *how, required(crash, carrier, how[0]), id="-".join((crash, carrier, *how))
    )
    for crash, carrier in cells()
    for how in plays(crash)
]


@pytest.mark.parametrize(("crash", "carrier", "leg", "point", "client", "required"), PLAYS)
def test_a_leg_is_called_at_most_once_and_the_callback_ends_wherever_a_process_dies(
    play: Play,
    crash: str,
    carrier: str,
    leg: str,
    point: str,
    client: str,
    required: Required,
):
    story, returns = Crash(play, CRASHES[crash][point], carrier, leg), RETURNS[client]
    with story.inject():
        answers = [post(story)]
        for second in returns:
            play.let(second - play.now)
            answers.append(post(story))
        if crash == "C0" and not returns:
            play.let(ENDED_WITHIN_SECONDS, step=5)
            assert (story.died, play.world.records(), story.sent) == (True, {}, [])
            return
        within = ENDED_WITHIN_SECONDS
        if CARRIER[carrier] and required.outcome != "completed":
            within = ENDED_AFTER_BOTH_WITHIN_SECONDS
        play.until(story.ended, within=within + 1)
        record = play.record(play.the_only_id())
        play.let(90, step=5)
    assert story.died
    assert play.record(play.the_only_id()) == record, "changed after its end"
    assert play.at(record["ended_at"]) <= within
    place = {"A": "first", "B": "second"}[leg]
    assert record["outcome"] == required.outcome.format(place=place)
    assert story.sent.count(story.party) == required.sent
    called = "AB" if required.placed else {"A": "", "B": "A"}[leg]
    assert [(call.leg, call.joined_at is not None) for call in play.calls()] == [
        (name, True) for name in called
    ]
    assert not any(call.live for call in play.calls())
    if returns:
        assert answers_agree(answers, play.the_only_id())


def post(story: Crash) -> dict[str, Any] | None:
    return story.play.post(story.parties["A"], story.parties["B"], key=KEY)


def answers_agree(answers: list[dict[str, Any] | None], callback_id: str) -> bool:
    """Every response is the callback's or "in progress", and the last is the callback's."""
    bodies = [json.loads(answer["body"]) for answer in answers if answer]
    running = [body for body in bodies if body.get("code") == "request_in_progress"]
    settled = [body["callback_id"] for body in bodies if body not in running]
    return set(settled) == {callback_id} and bodies[-1] not in running
