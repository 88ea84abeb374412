"""What a million callbacks cost on AWS: PYTHONPATH=layers/shared python -m tests.bench.cost

Runs callbacks through the whole service on this machine in virtual time, counts what they use, and
multiplies by AWS's list prices (`price_table`). Everything is counted but three assumptions:
durations of invocations, the share of requests that are traced, and Lambda's own log lines.
"""

import argparse
import sys
from typing import NamedTuple

import requests

from tests.bench import price_table
from tests.bench.ended import row_when_ended
from tests.bench.usage import Recorder, Usage
from tests.local.carrier import Scripts, Settings
from tests.local.carrier.scripts import Behaviour
from tests.local.clock import Clock
from tests.local.receiver import Receiver
from tests.local.stack import TENANT, LocalStack
from tests.local.template import FunctionDefinition
from tests.support.client import Client

# Assumed durations, in milliseconds: of a request to AWS; of one to the carrier or a client; and of
# our own work for each request and invocation. The last is time of a whole processor, of which
# Lambda gives one per 1,769 MB (Lambda Developer Guide, "Memory").
_AWS_REQUEST, _OTHER_REQUEST, _OWN_WORK_PER_REQUEST = 6.0, 150.0, 2.0
_WHOLE_PROCESSOR_MB = 1769

# Lambda's lines about an invocation in JSON, in bytes: platform.start, platform.report.
_PLATFORM_LOG_BYTES = 650
# A line of the HTTP API's access log, in bytes.
_ACCESS_LOG_BYTES = 420
# X-Ray's default sampling rule (X-Ray Developer Guide, "Sampling"): 5 % above one a second.
_TRACED_SHARE = 0.05

_CALLED = "+14155550401", "+14155550402"
PARTIES = {
    _CALLED[0]: Behaviour("picks up after 4 s", answer_after=4.0, stay_at_most=3600.0),
    _CALLED[1]: Behaviour("talks for a minute", answer_after=4.0, hang_up_after_joined=60.0),
}
BODY = {"leg_A": {"to": _CALLED[0]}, "leg_B": {"to": _CALLED[1]}, "allow_parallel": True}

# As many counters as a tenant has by default, with limits that this run does not reach. Limits over
# 100 would be divided among rows, which costs reads.
_LIMITS = {
    "calls_per_number": "100/10m,100/1d",
    "calls_per_prefix": "100/1h",
    "calls_per_tenant": "60/1m",
    "concurrent_callbacks": "10",
    "daily_spend": "50.00 USD",
}

# Virtual seconds until the last event of a callback is published and delivered.
_AFTERWARDS = 30.0


class Line(NamedTuple):
    """One position of the ledger: its quantity for one callback, and dollars for a million."""

    name: str
    quantity: float
    price: float

    @property
    def dollars(self) -> float:
        return self.quantity * self.price


class Run(NamedTuple):
    usage: Usage
    transitions: int
    functions: tuple[FunctionDefinition, ...]
    # Logical ids of the functions that the clock runs. They cost the same under any load.
    scheduled: frozenset[str]
    callbacks: int


def execute(callbacks: int, *, with_endpoint: bool) -> Run:
    """Run the callbacks one after the other, each to its end. Raises NotInTime."""
    scripts = Scripts()
    for party, behaviour in PARTIES.items():
        scripts.set(party, behaviour)
    with (
        Recorder().recording() as recorder,
        Receiver() as receiver,
        LocalStack(
            clock=Clock(stepped=True),
            environ={},
            carrier_settings=Settings(calls_per_second=1000.0),
            scripts=scripts,
            receiver=receiver,
        ) as stack,
    ):
        client = Client(stack, stack.key)
        stack.set_policy(TENANT, **_LIMITS)
        if with_endpoint:
            answer = requests.put(
                f"{stack.url}/voice/webhook/endpoint",
                json={"url": receiver.url},
                headers={"Authorization": f"Bearer {stack.key}"},
            )
            answer.raise_for_status()
        _carry_out(stack, client)  # caches are warm afterwards
        lines_before = len(stack.logs)
        recorder.begin(stack.template.functions, stack.template.tables)
        ids = [_carry_out(stack, client) for _ in range(callbacks)]
        usage = recorder.end(list(stack.logs)[lines_before:])
        client.close()
        return Run(
            usage,
            # The start counts as a transition, too (AWS Step Functions pricing, "Example 1").
            sum(stack.billed_transitions(each) + 1 for each in ids),
            stack.template.functions,
            _scheduled(stack),
            callbacks,
        )


def _scheduled(stack: LocalStack) -> frozenset[str]:
    names = {each.name: each.logical_id for each in stack.template.functions}
    return frozenset(
        names[target.function]
        for schedule in stack.template.schedules
        for target in schedule.targets
    )


def _carry_out(stack: LocalStack, client: Client) -> str:
    """One callback to its end, and what follows its end."""
    callback_id = client.accepted(BODY)
    row = stack.until(lambda: row_when_ended(stack, callback_id))
    assert row["outcome"] == {"S": "completed"}, row
    stack.clock.pause(_AFTERWARDS)
    return callback_id


def ledger(run: Run) -> list[Line]:
    usage, n = run.usage, run.callbacks
    memory = {each.logical_id: each.memory for each in run.functions}
    own = {name: count for name, count in usage.invocations.items() if name not in run.scheduled}
    requests_of = {
        name: sum(count for (f, *_), count in usage.requests.items() if f == name) for name in own
    }
    gigabyte_seconds = sum(
        memory[name]
        / 1024
        * (
            _seconds(memory[name], own[name], requests_of[name])
            + usage.other_requests[name] * _OTHER_REQUEST / 1000
        )
        for name in own
    )
    sent = sum(count for (_, service, _), count in usage.requests.items() if service == "sqs")
    log_bytes = sum(usage.log_bytes[name] for name in own)
    log_bytes += usage.http_requests * _ACCESS_LOG_BYTES
    log_bytes += _PLATFORM_LOG_BYTES * sum(
        own.get(each.logical_id, 0) for each in run.functions if each.system_log_level == "INFO"
    )
    is_traced = any(each.is_traced for each in run.functions)
    traces = usage.traced_roots * _TRACED_SHARE if is_traced else 0.0
    writes = sum(usage.write_units[name] for name in own)
    reads = sum(usage.read_units[name] for name in own)
    return [
        Line("state transitions", run.transitions / n, price_table.STATE_TRANSITIONS),
        Line("write units", writes / n, price_table.WRITE_UNITS),
        Line("read units", reads / n, price_table.READ_UNITS),
        Line("invocations", sum(own.values()) / n, price_table.INVOCATIONS),
        Line("GB-seconds (assumed durations)", gigabyte_seconds / n, price_table.GIGABYTE_SECONDS),
        Line("HTTP requests", usage.http_requests / n, price_table.HTTP_REQUESTS),
        Line("events on the bus", sum(usage.events.values()) / n, price_table.EVENTS),
        Line(
            "queue requests",
            (sent + 2 * usage.queued_invocations) / n,
            price_table.QUEUE_REQUESTS,
        ),
        Line("log megabytes", log_bytes / n / 1e6, price_table.LOG_MEGABYTES),
        Line("traces (assumed 5 %)", traces / n, price_table.TRACES),
    ]


def _seconds(memory: int, invocations: int, aws_requests: int) -> float:
    work = (invocations + aws_requests) * _OWN_WORK_PER_REQUEST * _WHOLE_PROCESSOR_MB / memory
    return (work + aws_requests * _AWS_REQUEST) / 1000


def main() -> int:
    parser = argparse.ArgumentParser(description="What a million callbacks cost on AWS.")
    parser.add_argument("--callbacks", type=int, default=20, help="callbacks to count (20)")
    arguments = parser.parse_args()
    totals = []
    for with_endpoint in (False, True):
        run = execute(arguments.callbacks, with_endpoint=with_endpoint)
        lines = ledger(run)
        title = "with client webhooks, all events" if with_endpoint else "without client webhooks"
        print(f"\nA callback {title}: {run.callbacks} counted")
        for line in lines:
            print(
                f"  {line.name:32} {line.quantity:10.3f} x ${line.price:8.4f} ${line.dollars:8.2f}"
            )
        totals.append(sum(line.dollars for line in lines))
        print(f"  {'dollars per million':32} {'':24} ${totals[-1]:8.2f}")
    print(f"\ntotal: ${totals[0]:.0f} per million, ${totals[1]:.0f} with client webhooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
