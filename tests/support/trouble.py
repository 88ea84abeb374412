"""Faults that several scenarios use, and the invariants that hold after all of them."""

import requests
from botocore.exceptions import ClientError

from tests.support.play import Play, raising

EVENTS = "^(status|conference)"  # webhooks that report events, not those that request TwiML
CREATE = "POST .*/Calls.json"


def throttled(code: str = "ThrottlingException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "Request")


def refused_connection() -> None:
    """The error that the SDK's HTTP library raises on a refused connection."""
    requests.post("http://127.0.0.1:9")


LOST = {
    "read timeout": ("after carrier.request", raising(requests.ReadTimeout())),
    "reset": "reset-after",
    "500": "500-after",
    "503": "503-after",
    "201 that is no JSON": "broken-body",
    "killed": ("after carrier.request", None),
}


def lose_the_answer(play: Play, how: str):
    """A context in which the next create request is carried out and its answer is lost."""
    lost = LOST[how]
    if isinstance(lost, str):
        play.world.carrier_fault(lost, times=1, where="POST .*/Calls.json")
        return play.whenever("never", refused_connection)
    point, work = lost
    if work is None:
        play.world.faults.arm(point)
    return play.whenever(point, work or refused_connection, times=1 if work else 0)


def frozen_for(play: Play, seconds: float):
    return lambda: play.let(seconds, step=5)


def real_end(play: Play) -> float:
    """The moment at which the carrier's last call ended."""
    return max(play.at(play.world.carrier.exchange.calls[c.sid].end_time) for c in play.calls())


def ended_with_every_event_of_b_lost(play: Play, b: str) -> dict:
    """Without a repair, leg A would wait for ever."""
    callback_id = play.accepted("1000219", b)
    play.until(lambda: bool(play.calls("B")), within=10)
    play.world.carrier_fault("drop", where=EVENTS)
    play.until(lambda: not play.calls("B")[0].live, within=60)
    b_ended = play.now
    record = play.ended(callback_id, within=180)
    assert real_end(play) - b_ended <= 90, "A was kept waiting"
    assert play.now - real_end(play) <= 90
    assert not any(call.live for call in play.calls())
    assert record["leg_A"]["seconds"] == play.call("A").duration
    return record
