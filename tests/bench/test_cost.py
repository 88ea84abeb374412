import re
import sys

import pytest

from tests.bench import cost


def test_the_ledger_counts_callbacks_and_prints_both_totals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cost", "--callbacks", "2"])

    assert cost.main() == 0

    printed = capsys.readouterr().out
    last = printed.splitlines()[-1]
    totals = re.fullmatch(r"total: \$(\d+) per million, \$(\d+) with client webhooks", last)
    assert totals, printed
    without, with_webhooks = map(int, totals.groups())
    assert 0 < without < with_webhooks


def test_the_ledger_states_each_quantity_that_a_run_used() -> None:
    run = cost.execute(2, with_endpoint=True)
    quantities = {line.name: line.quantity for line in cost.ledger(run)}

    assert quantities["state transitions"] == run.transitions / 2
    unused = {name for name, quantity in quantities.items() if not quantity}
    assert unused == {"traces (assumed 5 %)"}  # tracing is off by default
    assert run.usage.requests["CallbackApi", "stepfunctions", "StartExecution"] == 2
    assert run.usage.other_requests["CallbackApi"] == 2  # the first leg's create request
