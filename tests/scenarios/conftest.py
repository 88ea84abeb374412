"""One world for all scenarios: each begins with an empty table and a carrier without faults."""

from collections.abc import Iterator

import pytest

from tests.local import tables
from tests.local.receiver import Receiver
from tests.support import world
from tests.support.play import Play, tidy
from tests.support.relay import Relay
from tests.support.world import ACCOUNT_SID


@pytest.fixture(scope="package")
def the_world() -> Iterator[world.World]:
    with world.run_world() as running:
        yield running


@pytest.fixture
def tidied(the_world: world.World) -> Iterator[world.World]:
    yield the_world
    tidy(the_world)


@pytest.fixture
def play(tidied: world.World, request: pytest.FixtureRequest) -> Play:
    """Indirectly parametrised, `first_minute`."""
    return Play(tidied, first_minute=getattr(request, "param", 60.0))


@pytest.fixture
def ringing(play: Play) -> tuple[Play, str, dict[str, str]]:
    """A callback whose first party's phone rings; and the next event of it, as the carrier's."""
    play.world.carrier_fault("drop", where="^status")
    callback_id = play.accepted("1000203")
    play.let(2)
    (call,) = play.calls()
    genuine = {
        "AccountSid": ACCOUNT_SID,
        "CallDuration": "0",
        "CallSid": call.sid,
        "CallStatus": "busy",
        "CallerCity": "",
        "To": "sip:1000203@pbx.example",
    }
    return play, callback_id, genuine


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


@pytest.fixture
def relay(tidied: world.World, receiver: Receiver) -> Iterator[Relay]:
    receiver.clear()
    playing = Relay(tidied, receiver)
    with tables.streamed(playing.wrote):
        yield playing
