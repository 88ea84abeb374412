"""Scenario 25: whoever asks to be forgotten is, here and at the carrier, whatever is going on."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from callback.privacy.erasures import ErasureStore
from callback.storage.departures import Departures
from callback.storage.table import Table
from tests.support.play import Play
from tests.support.world import TABLE, TENANT, caller

FORGOTTEN, OTHER = "1000291", "1000292"
PEPPER = "pepper-of-the-scenarios-0123456789abcdef"
DONE_WITHIN = 240.0  # two minutes for the last request under way, and two runs
KEY = "a-key-of-the-scenarios"


class FixedPepper:
    def get(self) -> str:
        return PEPPER


def module_of(function: str) -> Any:
    (name,) = (n for n in sys.modules if n.startswith("local") and n.endswith(f"_{function}"))
    return sys.modules[name]


@pytest.fixture(autouse=True)
def every_minute(play, monkeypatch):
    """What is to be forgotten is gone on with every minute, as it is deployed."""
    monkeypatch.setattr(module_of("ErasureApi"), "pepper", FixedPepper())
    play.every_minute.append(lambda: play.world.invoke("Erase", {}))
    settings = play.world.carrier.exchange.settings
    yield
    settings.deletable_after = 0.0


def asked(play: Play, method: str, tenant: str = TENANT, erasure_id: str = "", body: Any = None):
    """(status, document) that a tenant is answered at /voice/erasure."""
    context = caller(tenant)
    context["authorizer"]["lambda"]["scopes"] += " callbacks:erase"
    event = {
        "routeKey": f"{method} /voice/erasure" + ("/{erasure_id}" if erasure_id else ""),
        "headers": {},
        "requestContext": context,
        "pathParameters": {"erasure_id": erasure_id},
        "body": json.dumps(body) if body is not None else None,
    }
    answer, error = play.world.invoke("ErasureApi", event)
    assert error is None, answer
    return answer["statusCode"], json.loads(answer["body"])


def ask_to_forget(play: Play, number: str = FORGOTTEN) -> str:
    status, erasure = asked(play, "POST", body={"number": number})
    assert (status, erasure["status"]) == (202, "erasing")
    return erasure["erasure_id"]


def erasure(play: Play, erasure_id: str) -> dict[str, Any]:
    status, found = asked(play, "GET", erasure_id=erasure_id)
    assert status == 200
    return found


def done(play: Play, erasure_id: str, within: float = DONE_WITHIN) -> dict[str, Any]:
    play.until(lambda: erasure(play, erasure_id)["status"] == "done", within, step=5)
    return erasure(play, erasure_id)


def rows(play: Play) -> dict[str, str]:
    """The whole table, but for what tenants may do: key to all of the row, as text."""
    items = play.world._dynamodb.scan(TableName=TABLE)["Items"]
    everything = {f"{item['pk']['S']} {item['sk']['S']}": json.dumps(item) for item in items}
    return {name: row for name, row in everything.items() if not name.startswith("TENANT")}


def kept(play: Play) -> set[str]:
    """The rows but for the tenant's counters and the carrier's departures, which name nobody."""
    return {name for name in rows(play) if not name.startswith(("LIMIT#", "CARRIER#"))}


def at_once(play: Play) -> str:
    """How many callbacks of the tenant are going on, as its limit counts them."""
    shards = [
        int(item["used"]["N"])
        for item in play.world._dynamodb.scan(TableName=TABLE)["Items"]
        if item["pk"]["S"].startswith(f"LIMIT#{TENANT}") and item["sk"]["S"] == "AT-ONCE"
    ]
    assert shards
    return str(sum(shards))


def kept_of_erasures(play: Play) -> set[str]:
    """What kind of rows there are, beside callbacks'."""
    return {name.partition("#")[0] for name in rows(play) if "ERASURE" in name}


def posted(play: Play, a: str = FORGOTTEN, b: str = OTHER, key: str | None = KEY, **fields) -> str:
    fields.setdefault("metadata", {"whom": f"the one at {FORGOTTEN}"})
    answer = play.post(a, b, key=key, **fields)
    assert answer is not None
    return str(json.loads(answer["body"])["callback_id"])


# -- in every state ------------------------------------------------------------------------------


def test_one_that_waits_to_be_started_is_forgotten_and_never_called(play: Play):
    play.world.set_rate(1)
    for _ in range(300):
        Departures(Table(play.world._dynamodb, TABLE), 1).book(play.world.clock.now())
    callback_id = posted(play, start_within_seconds=600)
    assert play.record(callback_id)["status"] == "waiting"
    done(play, ask_to_forget(play))
    assert play.calls() == []
    left = {name for name in kept(play) if "ERASURE" not in name and "WAITING-" not in name}
    assert left == set()
    counted = [row for name, row in rows(play).items() if name.endswith(" WAITING")]
    assert [json.loads(row)["used"]["N"] for row in counted] == ["0"]


def until_a_rings(play: Play) -> None:
    play.until(lambda: any(call.status == "ringing" for call in play.calls("A")), within=10)


def until_b_rings(play: Play) -> None:
    play.until(lambda: any(call.status == "ringing" for call in play.calls("B")), within=20)


def until_they_talk(play: Play) -> None:
    play.until(lambda: bool(play.calls("B")) and play.calls("B")[0].in_room, within=20)


def until_it_has_ended(play: Play) -> None:
    (callback_id,) = play.world.records()
    play.ended(callback_id, within=60)


# What A and B do, and when the erasure is asked for.
MOMENTS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Play], None]]] = {
    "while A rings": ({"answer_after": 60}, {}, until_a_rings),
    "between the legs": ({}, {"answer_after": 60}, until_b_rings),
    "while they talk": ({}, {}, until_they_talk),
    "after the end": ({"hang_up_after_joined": 5}, {}, until_it_has_ended),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_erasure_works_in_any_state_of_the_callback(play, moment):
    a, b, until = MOMENTS[moment]
    play.party(FORGOTTEN, **{"answer_after": 1, **a})
    play.party(OTHER, **{"answer_after": 1, **b})
    callback_id = posted(play)
    until(play)
    sids = [call.sid for call in play.calls()]
    assert sids

    evidence = done(play, ask_to_forget(play))

    assert not any(call.live for call in play.calls())
    answer = play.world.request("GET", callback_id)
    assert answer is not None
    assert answer["statusCode"] == 404
    assert kept_of_erasures(play) == {"ERASURE", "ERASURES"}
    for name, row in rows(play).items():
        for trace in (FORGOTTEN, OTHER, callback_id, KEY, *sids):
            assert trace not in row, name
    assert len(kept(play)) == 2, "the evidence, and the list that it is in"
    assert at_once(play) == "0"
    assert all(play.world.carrier.exchange.calls[sid].deleted for sid in sids)
    assert (evidence["callbacks_erased"], evidence["carrier_records_erased"]) == (1, len(sids))
    assert play.world.sequencer.executions[callback_id].status == "SUCCEEDED"
    assert play.world.sequencer.died == []


def test_the_carriers_records_are_asked_for_until_it_lets_them_go(play):
    """20009: it may take 14 days. What it must not keep is not kept here meanwhile."""
    play.party(FORGOTTEN, answer_after=1, hang_up_after_joined=5)
    callback_id = posted(play)
    play.ended(callback_id, within=60)
    (sid, _) = [call.sid for call in play.calls()]
    play.world.carrier.exchange.settings.deletable_after = timedelta(days=1).total_seconds()
    erasure_id = ask_to_forget(play)
    play.until(lambda: erasure(play, erasure_id)["erased_at"] is not None, within=DONE_WITHIN)
    assert erasure(play, erasure_id)["status"] == "erasing"
    assert not any(FORGOTTEN in row for row in rows(play).values())
    assert any(sid in name for name in rows(play))

    play.let(timedelta(hours=23).total_seconds(), step=600)
    assert erasure(play, erasure_id)["carrier_records_erased"] == 0
    evidence = done(play, erasure_id, within=timedelta(hours=8).total_seconds())
    assert evidence["carrier_records_erased"] == 2
    assert len(kept(play)) == 2


def test_a_carrier_that_cannot_be_asked_is_asked_again(play):
    for party in (FORGOTTEN, OTHER):
        play.party(party, answer_after=1, stay_at_most=7200.0)
    posted(play)
    until_they_talk(play)
    play.world.carrier_fault("500-before")
    erasure_id = ask_to_forget(play)
    play.let(300, step=5)
    assert erasure(play, erasure_id)["callbacks_erased"] == 0
    assert any(call.live for call in play.calls()), "nobody could hang up"
    play.world.heal()
    evidence = done(play, erasure_id)
    assert (evidence["callbacks_erased"], evidence["carrier_records_erased"]) == (1, 2)
    assert not any(call.live for call in play.calls())


def test_a_record_that_the_carrier_has_deleted_already_counts_as_gone(play):
    posted(play, a="1000202")
    (call,) = play.calls()
    play.until(lambda: not play.calls()[0].live, within=30)
    play.world.carrier.exchange.calls[call.sid].deleted = True
    assert done(play, ask_to_forget(play, "1000202"))["carrier_records_erased"] == 1


# -- nothing is missed, and nothing else is taken --------------------------------------------------


def test_a_callback_that_is_being_accepted_at_the_time_is_not_missed(play):
    """The erasure is stored between the moment in which the callback was made and its storing."""
    asked_for: list[str] = []

    def ask() -> None:
        asked_for.append(ask_to_forget(play))

    with play.whenever("before dynamodb.transact_write_items", ask):
        callback_id = posted(play)
    assert callback_id in play.world.records()
    assert done(play, asked_for[0])["callbacks_erased"] == 1
    assert play.world.records() == {}


def test_an_erasure_keeps_later_callbacks_other_tenants_and_other_numbers(play):
    play.world.make_tenant("another-tenant")
    others = posted(play, a="1000202", b=OTHER, key=None, metadata={})
    event = {
        "routeKey": "POST /voice/call/callback",
        "headers": {},
        "requestContext": caller("another-tenant"),
        "body": json.dumps({"leg_A": {"to": FORGOTTEN}, "leg_B": {"to": OTHER}}),
    }
    answer, _ = play.world.invoke("CallbackApi", event)
    another_tenants = json.loads(answer["body"])["callback_id"]
    posted(play)
    erasure_id = ask_to_forget(play)
    play.let(3)
    later = posted(play, key=None, allow_parallel=True)
    assert done(play, erasure_id)["callbacks_erased"] == 1
    assert set(play.world.records()) == {others, another_tenants, later}
    for each in (others, later):
        answer = play.world.request("GET", each)
        assert answer is not None
        assert answer["statusCode"] == 200


def test_who_was_only_shown_as_a_caller_id_is_forgotten_too(play):
    answer = play.world.request(
        "POST", body={"leg_A": {"to": OTHER, "from": FORGOTTEN}, "leg_B": {"to": "1000218"}}
    )
    assert answer is not None
    assert answer["statusCode"] == 202
    assert done(play, ask_to_forget(play))["callbacks_erased"] == 1
    assert not any(FORGOTTEN in name + row for name, row in rows(play).items())


def test_everything_of_a_tenant_is_forgotten(play):
    ids = [posted(play, a=a, key=None) for a in ("1000202", "1000203", FORGOTTEN)]
    erasures = ErasureStore(Table(play.world._dynamodb, TABLE))
    erasure_id = erasures.add(TENANT, None, None).erasure_id
    play.let(30)
    ids.append(posted(play, a="1000204", key=None))  # by a key that is not quite worthless yet
    evidence = done(play, erasure_id)
    assert (evidence["callbacks_erased"], evidence["number_hash"]) == (len(ids), None)
    assert len(kept(play)) == 2


# -- races and crashes -----------------------------------------------------------------------------


def test_a_late_webhook_brings_nothing_back(play):
    play.party(FORGOTTEN, answer_after=1, hang_up_after_joined=5)
    callback_id = posted(play)
    play.ended(callback_id, within=60)
    sid = play.calls("A")[0].sid
    done(play, ask_to_forget(play))
    before = rows(play)
    told = {"CallSid": sid, "CallStatus": "completed", "CallDuration": "999"}
    assert play.webhook(f"/carrier/status/{callback_id}/A/1", **told).status_code == 204
    answer = play.webhook(f"/carrier/twiml/{callback_id}/A/1", **told)
    assert "<Hangup" in answer.text
    assert rows(play) == before


def test_a_webhook_that_is_written_while_the_callback_is_erased_only_delays_that(play):
    play.party(FORGOTTEN, answer_after=1, hang_up_after_joined=5)
    callback_id = posted(play)
    play.ended(callback_id, within=60)
    sid = play.calls("A")[0].sid
    erasure_id = ask_to_forget(play)
    told = {"CallSid": sid, "CallStatus": "completed", "CallDuration": "999"}
    path = f"/carrier/status/{callback_id}/A/1"
    with play.whenever(
        "before dynamodb.transact_write_items", lambda: play.webhook(path, **told)
    ) as written:
        play.world.invoke("Erase", {})
    assert written
    assert play.record(callback_id)["leg_A"]["seconds"] == 999
    assert done(play, erasure_id)["callbacks_erased"] == 1
    assert len(kept(play)) == 2


POINTS = [
    f"{when} {what}"
    for what in (
        "dynamodb.get_item",
        "dynamodb.put_item",
        "dynamodb.transact_write_items",
        "carrier.request",
        "states.send_task_success",
    )
    for when in ("before", "after")
]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_dies_anywhere_is_gone_on_with_and_counts_once(play, point, nth):
    play.party(FORGOTTEN, answer_after=1)
    posted(play)
    until_they_talk(play)
    erasure_id = ask_to_forget(play)
    play.world.faults.arm(point, nth)
    for _ in range(3):
        play.world.invoke("Erase", {})
        play.let(1)
    play.world.faults.clear()
    evidence = done(play, erasure_id)
    assert (evidence["callbacks_erased"], evidence["carrier_records_erased"]) == (1, 2)
    assert len(kept(play)) == 2
    assert not any(call.live for call in play.calls())


# -- the door --------------------------------------------------------------------------------------


def test_the_evidence_can_be_verified_only_with_the_number(play):
    posted(play)
    ids = [ask_to_forget(play)]
    play.let(1)
    ids.append(ask_to_forget(play, OTHER))
    hashes = [done(play, each)["number_hash"] for each in ids]
    assert len(set(hashes)) == 2
    assert hashes[0] == erasure(play, ask_to_forget(play))["number_hash"], "the same number"
    assert FORGOTTEN not in str(erasure(play, ids[0]))
    status, listed = asked(play, "GET")
    assert status == 200
    assert [each["erasure_id"] for each in listed["erasures"]][1:] == ids[::-1]


def test_another_tenants_erasure_does_not_exist(play):
    erasure_id = ask_to_forget(play)
    status, problem = asked(play, "GET", "another-tenant", erasure_id)
    assert (status, problem["code"]) == (404, "erasure_not_found")
    assert asked(play, "GET", "another-tenant")[1] == {"erasures": []}
