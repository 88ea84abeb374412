"""Scenarios 7 and 18, seen from our side: the credentials cannot be had, or are being rotated."""

import json
import sys
from typing import Any

import pytest

from callback.carrier.credentials import CredentialStore
from callback.carrier.first_use import CarrierAtFirstUse
from callback.carrier.twilio.client import TwilioCarrier
from tests.local import output_tap
from tests.support.play import Play
from tests.support.secret import Secret
from tests.support.world import AUTH_TOKEN

OLD, NEW = AUTH_TOKEN, "the-token-after-the-rotation"
DIALING = ("CallbackApi", "PlaceLeg")


def sandboxes() -> dict[str, Any]:
    """The module of each function that knows the carrier, by its logical id."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("local")}
    return {
        name.rpartition("_")[2]: module
        for name, module in modules.items()
        if hasattr(module, "credentials")
    }


def carrier_of(module) -> TwilioCarrier | None:
    values = list(vars(module).values())
    values += [value.carrier for value in values if isinstance(value, CarrierAtFirstUse)]
    found = [value for value in values if isinstance(value, TwilioCarrier)]
    return found[0] if found else None


@pytest.fixture
def secrets(the_world, monkeypatch) -> dict[str, Secret]:  # noqa: ARG001  (it loads them)
    """The parameter as each warm sandbox sees it, with a cache of its own."""
    found = {}
    for function, module in sandboxes().items():
        found[function] = secret = Secret(auth_token=OLD)
        store = CredentialStore("name", secret)
        monkeypatch.setattr(module, "credentials", store)
        if carrier := carrier_of(module):
            monkeypatch.setattr(carrier, "_credentials", store)
            monkeypatch.setattr(carrier, "_ready_credentials", store.get())
    assert {*DIALING, "CarrierWebhook", "CloseCallback", "Reconcile"} <= set(found)
    return found


@pytest.fixture
def switched(play: Play, monkeypatch):
    """Switch the token at the carrier."""
    output_tap.report_secret("the carrier's token", NEW)
    monkeypatch.setattr(play.world.carrier.exchange, "auth_token", OLD)
    return lambda: setattr(play.world.carrier.exchange, "auth_token", NEW)


def written(secrets: dict[str, Secret], *, noticed: bool = False) -> None:
    """The new token is in the parameter; sandboxes have it in their caches where `noticed`."""
    for secret in secrets.values():
        secret.value = {"auth_token": NEW, "previous_auth_token": OLD}
        secret.cached = secret.value if noticed else secret.cached


def failing(secrets: dict[str, Secret], fails: bool) -> None:
    """To whoever dials; the carrier's door has its own."""
    for function in DIALING:
        secrets[function].fails, secrets[function].cached = fails, None


def ended(play: Play, callback_id: str) -> tuple:
    record = play.ended(callback_id, within=60)
    return record["outcome"], [len(play.calls(leg)) for leg in "AB"]


def test_callbacks_go_on_when_the_token_was_switched_under_warm_sandboxes(
    play: Play, secrets, switched
):
    written(secrets)
    switched()
    assert ended(play, play.accepted("1000123", "1000218")) == ("completed", [1, 1])
    play.let(60)  # reconcile asks the carrier too
    assert ended(play, play.accepted("1000202")) == ("first_leg_busy", [2, 1])


def test_callbacks_go_on_between_the_writing_of_the_new_token_and_its_switching(
    play: Play, secrets
):
    written(secrets, noticed=True)
    assert ended(play, play.accepted("1000123", "1000218")) == ("completed", [1, 1])


def test_a_conversation_during_which_the_token_is_switched_ends_as_any_other(
    play: Play, secrets, switched
):
    callback_id = play.accepted("1000219", "1000211")
    play.until(lambda: play.record(callback_id)["status"] == "connected", within=20)
    written(secrets)
    switched()
    assert play.world.request("DELETE", callback_id)["statusCode"] == 202
    assert ended(play, callback_id) == ("canceled", [1, 1])
    assert not any(call.live for call in play.calls())


def test_a_token_that_is_switched_before_it_is_written_fails_no_callback(
    play: Play, secrets, switched
):
    """The wrong way round: for some seconds the carrier takes nothing that we have."""
    switched()
    callback_id = play.accepted("1000123", "1000218")
    play.let(2)
    assert play.calls() == []
    written(secrets, noticed=True)  # as 30 s later, or in any other sandbox
    assert ended(play, callback_id) == ("completed", [1, 1])


def test_a_parameter_store_that_fails_during_a_post_fails_no_callback(play: Play, secrets):
    failing(secrets, True)
    answer = play.post("1000123", "1000218")
    assert answer["statusCode"] == 202
    assert json.loads(answer["body"])["leg_A"]["status"] == "planned"
    play.let(2.5)
    failing(secrets, False)
    assert ended(play, play.the_only_id()) == ("completed", [1, 1])
    assert play.record(play.the_only_id())["leg_A"]["attempts"] == 1


def test_a_parameter_store_that_fails_while_a_waits_fails_no_callback(play: Play, secrets):
    callback_id = play.accepted("1000123", "1000218")
    failing(secrets, True)
    play.until(lambda: bool(play.record(callback_id)["leg_A"]["joined_at"]), within=10)
    play.let(2.5)
    assert play.calls("B") == []
    failing(secrets, False)
    assert ended(play, callback_id) == ("completed", [1, 1])
    assert play.record(callback_id)["leg_B"]["attempts"] == 1


def test_a_parameter_store_that_goes_on_failing_fails_the_callback_in_time_and_calls_nobody(
    play: Play, secrets
):
    failing(secrets, True)
    record = play.ended(play.accepted("1000123", "1000218"), within=35)
    assert (record["outcome"], record["cause"]) == ("failed", "workflow_gave_up")
    failing(secrets, False)
    play.let(180, step=5)
    assert play.calls() == []
