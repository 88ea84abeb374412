"""The sequencer runs the workflow by its deployed definition."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.local import template
from tests.support.build import NOON
from tests.support.sequencer import Sequencer
from tests.template import document

DIALING = ["CallFirstParty", "CallSecondParty"]
WAITS = [1, 2, 4, 8, 8]  # seconds; tests/README.md, "What can go wrong", 7


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    (workflow,) = template.load(document.TEMPLATE, {}).workflows
    return dict(json.loads(workflow.definition))


@pytest.mark.parametrize("state", DIALING)
def test_a_refused_create_request_is_retried_after_1_2_4_8_and_8_seconds(
    definition: dict[str, Any], state: str
):
    now, attempts = NOON, []

    def invoke(_: str, payload: dict[str, Any]) -> tuple[Any, str | None]:
        if "step" in payload:
            attempts.append((now - NOON).total_seconds())
        return None, "CarrierUnavailable"

    sequencer = Sequencer({**definition, "StartAt": state}, invoke, lambda: now)
    execution_input = {"callback_id": "cb-1", "first_step_seconds": 600, "second_step_seconds": 600}
    sequencer.start_execution(stateMachineArn="", name="cb-1", input=json.dumps(execution_input))
    while sequencer.executions["cb-1"].state == state:
        sequencer.run()
        now += timedelta(seconds=0.5)
    assert attempts == [sum(WAITS[:n]) for n in range(len(WAITS) + 1)]


def test_a_field_that_the_sequencer_does_not_implement_is_refused(definition: dict[str, Any]):
    changed = json.loads(json.dumps(definition))
    changed["States"][DIALING[0]]["Retry"][-1]["JitterStrategy"] = "FULL"
    with pytest.raises(AssertionError, match="JitterStrategy"):
        Sequencer(changed, lambda *_: (None, None), lambda: NOON)
