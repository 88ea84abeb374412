"""One local stack for all end-to-end tests. Its clock stands still while something is being done,
and moves on only while a test waits for something to happen.

It ends with the last of them: there is room for one stack in a process.
"""

from collections.abc import Iterator

import pytest

from tests.local.clock import Clock
from tests.local.receiver import Receiver
from tests.local.stack import LocalStack
from tests.support.client import Client
from tests.support.commands import name
from tests.support.observer import Observer


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    """A client's own server, for webhooks."""
    with Receiver() as listening:
        yield listening


@pytest.fixture(scope="package")
def running(receiver: Receiver) -> Iterator[LocalStack]:
    with LocalStack(clock=Clock(stepped=True), environ={}, receiver=receiver) as stack:
        yield stack


@pytest.fixture
def stack(running: LocalStack) -> Iterator[Observer]:
    observer = Observer(running)
    yield observer
    observer.close()


@pytest.fixture
def client(running: LocalStack) -> Iterator[Client]:
    client = Client(running, running.key)
    yield client
    client.close()


@pytest.fixture
def tenant(running: LocalStack) -> str:
    """One that exists."""
    made = name()
    running.make_tenant(made)
    return made


@pytest.fixture
def one(running: LocalStack, tenant: str) -> Iterator[Client]:
    client = Client(running, running.make_key(tenant))
    yield client
    client.close()
