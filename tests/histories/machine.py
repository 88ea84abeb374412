"""The behaviors of clients, carrier, network and sandboxes as rules, and the invariants.

`test_histories` runs some hundred histories of them, `make soak` some ten thousand.
"""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.world import SeenCall, World

# The behaviors of called parties, from the simulator's table (tests/local/carrier/README.md).
PARTIES = {
    "stays": "1000201",
    "busy": "1000202",
    "never answers": "1000203",
    "fails": "1000204",
    "is refused": "1000207",
    "hangs up after 1 s": "1000208",
    "hangs up after 5 s": "1000209",
    "hangs up 5 s after joining": "1000218",
    "never hangs up": "1000219",
    "429": "1000221",
    "500, not placed": "1000222",
    "500, placed": "1000223",
    "reset, placed": "1000225",
    "reset, not placed": "1000226",
}

POINTS = [
    f"{side} {call}"
    for side in ("before", "after")
    for call in (
        "dynamodb.get_item",
        "dynamodb.put_item",
        "dynamodb.transact_write_items",
        "dynamodb.update_item",
        "carrier.request",
        "states.start_execution",
        "states.send_task_success",
        "states.send_task_failure",
    )
]

# Once no fault is active any more, every callback ends within this time. Ring timeouts are 30 s
# here, and conversations last 60 s at most.
HEALED_WITHIN_SECONDS = 60 + 35 + 60 + 90 + 90

_parties = st.sampled_from(list(PARTIES.values()))
_picks = st.integers(0, 3)
_orders = st.sampled_from(["sequential", "reverse", "simultaneous"])


def _is_over(record: dict[str, Any]) -> bool:
    legs = (record["leg_a"]["M"], record["leg_b"]["M"])
    return "close_reason" in record or any(leg["status"]["S"] == "ended" for leg in legs)


def owns_key(answer: dict[str, Any]) -> bool:
    """Whether the request with this response owns the idempotency key from now on."""
    is_other_owner = json.loads(answer["body"]).get("code") == "idempotency_key_reused"
    return answer["statusCode"] in (202, 422) and not is_other_owner


def as_stored(answer: dict[str, Any]) -> dict[str, Any]:
    """The response without the headers that differ between a request and its repetition."""
    per_request = ("Idempotent-Replayed", "RateLimit", "RateLimit-Policy")
    headers = {name: text for name, text in answer["headers"].items() if name not in per_request}
    return {**answer, "headers": headers}


class Histories(RuleBasedStateMachine):
    """The caller sets `world`: one for each process."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.world.reset()
        self.seen: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, tuple[dict[str, Any], Any]] = {}
        self.posts = 0

    # -- clients ---------------------------------------------------------------------------------

    @precondition(lambda self: self.posts < 4)
    @rule(a=_parties, b=_parties, order=_orders, keyed=st.booleans())
    def a_client_posts(self, a: str, b: str, order: str, keyed: bool) -> None:
        self.posts += 1
        if a == b:
            b = PARTIES["hangs up 5 s after joining"] if a != "1000218" else "1000201"
        body = {
            "leg_A": {"to": a},
            "leg_B": {"to": b},
            "order": order,
            "max_duration_seconds": 60,
            "allow_parallel": True,
        }
        key = f"key-number-{self.posts:06d}"
        headers = {"idempotency-key": key} if keyed else {}
        answer = self.world.request("POST", body=body, **headers)
        if keyed:
            self.answers[key] = (body, answer if answer and owns_key(answer) else None)
        assert answer is None or answer["statusCode"] in (202, 422, 503), answer

    @precondition(lambda self: self.answers)
    @rule(pick=_picks, changed=st.booleans())
    def a_client_posts_again_with_the_same_key(self, pick: int, changed: bool) -> None:
        """The first request stored owns the key. A client whose function died does not
        know whether it owns the key."""
        key = sorted(self.answers)[pick % len(self.answers)]
        body, first = self.answers[key]
        other = {**body, "max_duration_seconds": 121 - body["max_duration_seconds"]}
        sent = other if changed else body
        answer = self.world.request("POST", body=sent, **{"idempotency-key": key})
        if answer is None:
            return
        if first is None:
            self.answers[key] = (sent, answer) if owns_key(answer) else (body, None)
        elif changed:
            assert not owns_key(answer), answer
            assert answer["statusCode"] in (409, 422, 503), answer
        elif answer["statusCode"] not in (409, 503):
            assert answer["headers"].get("Idempotent-Replayed") == "true", (answer, first)
            assert as_stored(answer) == as_stored(first), "byte for byte"
        owners = {json.loads(a["body"]).get("callback_id") for _, a in self.answers.values() if a}
        assert len(owners) <= self.posts

    @rule(pick=_picks)
    def a_client_cancels(self, pick: int) -> None:
        for callback_id in self._one_of(self._by_age(), pick):
            answer = self.world.request("DELETE", callback_id)
            assert answer is None or answer["statusCode"] in (202, 409, 503), answer

    # -- time and the carrier --------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 1, 2, 3, 5, 8, 20]))
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule()
    def the_minute_is_over(self) -> None:
        self.world.reconcile()

    @rule(pick=_picks)
    def a_party_hangs_up(self, pick: int) -> None:
        for call in self._one_of([c for c in self.calls() if c.live], pick):
            self.world.hang_up(call.sid)

    @rule(
        fault=st.sampled_from(["drop", "duplicate", "delay", "reorder"]),
        skip=st.integers(0, 3),
        times=st.integers(1, 4),
    )
    def webhooks_go_astray(self, fault: str, skip: int, times: int) -> None:
        self.world.carrier_fault(fault, skip=skip, times=times)

    @rule(fault=st.sampled_from(["429", "500-before", "500-after", "reset-after", "broken-body"]))
    def a_request_to_the_carrier_goes_wrong(self, fault: str) -> None:
        self.world.carrier_fault(fault, times=1, where="POST .*/Calls")

    @rule(times=st.integers(1, 3))
    def settlings_are_throttled(self, times: int) -> None:
        self.world.sequencer.throttled = times

    # -- sandboxes -------------------------------------------------------------------------------

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 4))
    def a_sandbox_will_die(self, point: str, nth: int) -> None:
        self.world.faults.arm(point, nth)

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 4))
    def a_task_will_be_tried_again_while_it_runs(self, point: str, nth: int) -> None:
        self.world.faults.arm(point, nth, self.world.sequencer.try_again)

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 4))
    def the_minute_will_be_over_while_something_runs(self, point: str, nth: int) -> None:
        self.world.faults.arm(point, nth, lambda: self.world.invoke("Reconcile", {}))

    @rule()
    def the_answer_of_a_write_will_be_lost(self) -> None:
        self.world.faults.lose("dynamodb.put_item")

    @rule(pick=_picks)
    def an_execution_is_stopped(self, pick: int) -> None:
        for callback_id in self._one_of(self._by_age(), pick):
            self.world.sequencer.stop(callback_id)
            self.world.run()

    # Preconditions must not depend on the state of the world, or a failing history could not be
    # repeated. So a rule without anything to act on does nothing.

    def _by_age(self) -> list[str]:
        return sorted(self.seen, key=lambda i: self.seen[i]["created_at"]["S"])

    @staticmethod
    def _one_of(things: list[Any], pick: int) -> list[Any]:
        return things[pick : pick + 1]

    # -- invariants ------------------------------------------------------------------------------

    def calls(self) -> list[SeenCall]:
        return self.world.calls()

    @invariant()
    def promises_hold(self) -> None:
        records, calls = self.world.records(), self.calls()
        by_leg: dict[tuple[str, str], list[SeenCall]] = {}
        for call in calls:
            by_leg.setdefault((call.callback_id, call.leg), []).append(call)
        for (callback_id, leg), placed in by_leg.items():
            joined = [call for call in placed if call.joined_at]
            assert len(joined) <= 1, f"two calls of leg {leg} joined {callback_id}"
            assert len(placed) <= 1, f"leg {leg} of {callback_id} was called twice"
            first = {"sequential": "A", "reverse": "B"}.get(records[callback_id]["order"]["S"])
            if first and leg != first:
                waiting = [c for c in by_leg.get((callback_id, first), []) if c.joined_at]
                assert waiting, f"{leg} was called though {first} had not joined"
                assert waiting[0].joined_at <= placed[0].created_at  # type: ignore[operator]
        for callback_id, record in records.items():
            self._never_changes_once_ended(callback_id, record)
        self.seen = records

    def _never_changes_once_ended(self, callback_id: str, record: dict[str, Any]) -> None:
        before = self.seen.get(callback_id)
        if before is None:
            return
        if before["status"]["S"] == "ended":
            assert record["status"] == before["status"]
            assert record.get("close_reason") == before.get("close_reason")
        for leg in ("leg_a", "leg_b"):
            was, now = before[leg]["M"], record[leg]["M"]
            if was["status"]["S"] == "ended":
                assert now["status"]["S"] == "ended", f"{leg} came back to life"

    def teardown(self) -> None:
        """Once all faults are removed, every callback ends and no call stays live."""
        if not hasattr(self, "seen"):
            return
        self.world.heal()
        self._ended_calls_are_released()
        for _ in range(0, HEALED_WITHIN_SECONDS, 30):
            self.world.advance(30)
            self.world.reconcile()
            self.promises_hold()
            if self._all_is_over():
                break
        for callback_id, record in self.world.records().items():
            assert record["status"]["S"] == "ended", (callback_id, record)
            assert record["outcome"]["S"]
        assert [call for call in self.calls() if call.live] == []
        talked = {c.callback_id for c in self.calls() if c.joined_at}
        for callback_id, record in self.world.records().items():
            if record["outcome"]["S"] == "completed":
                assert callback_id in talked

    def _ended_calls_are_released(self) -> None:
        """A callback that is over has no live call after the next minute and one announcement."""
        self.world.advance(20)
        over = {i for i, record in self.world.records().items() if _is_over(record)}
        self.world.reconcile()
        self.world.advance(8)
        live = [call for call in self.calls() if call.live and call.callback_id in over]
        assert live == [], "a call is live after its callback ended"

    def _all_is_over(self) -> bool:
        return not any(c.live for c in self.calls()) and all(
            r["status"]["S"] == "ended" for r in self.world.records().values()
        )
