"""A call centre's dialer: PYTHONPATH=layers/shared python -m tests.bench.dialer

300 requests in 287 seconds meet a carrier that dials one call a second. A client answers after 3 to
8 s and waits a minute for the agent. Everything runs in virtual time, once as it is deployed and
once without pace: then the service sends each request at once, and the carrier queues it.
"""

import argparse
import random
import sys
from datetime import datetime
from typing import Any, NamedTuple

from tests.bench.ended import row_when_ended
from tests.local import loopback
from tests.local.carrier import Scripts, Settings
from tests.local.carrier.scripts import Behaviour
from tests.local.clock import Clock
from tests.local.stack import LocalStack
from tests.support.client import Client

REQUESTS, SECONDS = 300, 287.0
START_WITHIN = 900
_PATIENCE = 60.0  # of a client on the line, until the agent is there
_UNPACED = "1000"
_LONGEST_RUN = 7200.0  # virtual seconds


class Load(NamedTuple):
    accepted: int
    answered: int  # clients who picked up
    talked: int
    longest_wait: float  # from a client's answer to the ringing of the agent's telephone
    seconds: float  # from the first request to the last end
    outcomes: dict[str, int]

    @property
    def share(self) -> float:
        return self.talked / self.answered if self.answered else 0.0


def run(requests: int, seconds: float, rate: float, *, paced: bool) -> Load:
    """Raises NotLoopback before any call, and NotInTime."""
    rng = random.Random(1)
    scripts = Scripts()
    for number in range(requests):
        answer_after = rng.uniform(3, 8)
        scripts.set(
            _client(number),
            Behaviour("waits a minute", answer_after=answer_after, stay_at_most=_PATIENCE + 30),
        )
        scripts.set(_agent(number), Behaviour("talks", answer_after=4, hang_up_after_joined=30))
    parameters = {"CallsPerSecond": f"{rate:g}" if paced else _UNPACED}
    with LocalStack(
        clock=Clock(stepped=True),
        environ={},
        carrier_settings=Settings(calls_per_second=rate, keep_ended=4 * requests),
        scripts=scripts,
        parameters=parameters,
    ) as stack:
        for url in (stack.url, stack.carrier_url):
            if not loopback.is_loopback_url(url):
                raise loopback.NotLoopback(url)
        client = Client(stack, stack.key)
        began = stack.clock.now()
        ids = []
        for number in range(requests):
            body = {
                "leg_A": {"to": _client(number), "ring_timeout_seconds": 30},
                "leg_B": {"to": _agent(number), "ring_timeout_seconds": 60},
                "start_within_seconds": START_WITHIN,
            }
            answer = client.post(body)
            if answer.status_code == 202:
                ids.append(str(answer.json()["callback_id"]))
            stack.clock.pause(seconds / requests)
        left = set(ids)

        def all_have_ended() -> bool:
            left.difference_update([each for each in left if row_when_ended(stack, each)])
            return not left

        stack.until(all_have_ended, _LONGEST_RUN)
        records = [client.get(each).json() for each in ids]
        client.close()
        lasted = (stack.clock.now() - began).total_seconds()
        return _judge(records, lasted)


def _client(number: int) -> str:
    return f"+1415555{number:04}"


def _agent(number: int) -> str:
    return f"+1628555{number:04}"


def _judge(records: list[dict[str, Any]], lasted: float) -> Load:
    outcomes: dict[str, int] = {}
    for record in records:
        outcomes[record["outcome"]] = outcomes.get(record["outcome"], 0) + 1
    answered = [r for r in records if r["leg_A"]["answered_at"]]
    waits = [
        _seconds(r["leg_A"]["answered_at"], r["leg_B"]["ringing_at"])
        for r in answered
        if r["leg_B"]["ringing_at"]
    ]
    talked = sum(r["outcome"] == "completed" for r in answered)
    return Load(len(records), len(answered), talked, max(waits, default=0.0), lasted, outcomes)


def _seconds(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def main() -> int:
    parser = argparse.ArgumentParser(description="A dialer's load, with pace and without.")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="virtual seconds to send in")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="the carrier's calls per second (1)"
    )
    arguments = parser.parse_args()
    print(f"{'':14}accepted answered  talked   share  longest wait   total")
    for title, paced in (("with pace", True), ("without pace", False)):
        load = run(arguments.requests, arguments.seconds, arguments.rate, paced=paced)
        print(
            f"{title:14}{load.accepted:8}{load.answered:9}{load.talked:8}{load.share:8.1%}"
            f"{load.longest_wait:12.1f} s{load.seconds:7.0f} s"
        )
        for outcome, count in sorted(load.outcomes.items()):
            print(f"{'':14}{count:8} {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
