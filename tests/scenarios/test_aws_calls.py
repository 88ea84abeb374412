"""The requests to AWS that one POST takes in a warm sandbox: each takes milliseconds."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.play import Play

KEY = "key-of-the-counted-post"
READ, DEPART, STORE, RECORD, START, REMEMBER = (
    "dynamodb.batch_get_item",  # the rows that the rules need
    "dynamodb.update_item",  # a departure
    "dynamodb.transact_write_items",  # the callback, its claim, its key and all counters
    "dynamodb.put_item",  # the result of a create request
    "states.start_execution",
    "dynamodb.update_item",  # the response, for repetitions
)


@contextlib.contextmanager
def requests_to_aws(play: Play) -> Iterator[list[str]]:
    """The names of the requests, in order."""
    faults, sent = play.world.faults, []
    reach = faults.reach

    def reached(point: str) -> None:
        when, _, name = point.partition(" ")
        if when == "before" and not name.startswith("carrier"):
            sent.append(name)
        reach(point)

    faults.reach = reached  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        del faults.reach  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("fields", "requests"),
    [
        ({}, [READ, DEPART, STORE, RECORD, START]),
        ({"key": KEY}, [READ, DEPART, STORE, RECORD, START, REMEMBER]),
        ({"order": "simultaneous"}, [READ, DEPART, STORE, RECORD, RECORD, START]),
        ({"allow_parallel": True}, [READ, DEPART, STORE, RECORD, START]),
    ],
    ids=["one leg", "with a key", "both legs", "in parallel"],
)
def test_a_post_reads_once_and_stores_once_and_records_each_call_once(play, fields, requests):
    play.accepted("1000123", "1000124")  # the sandbox has read the policy
    play.let(1)  # the last departure is over
    play.world.sequencer.run = lambda: None  # the workflow's functions are others
    with requests_to_aws(play) as sent:
        play.accepted("1000203", "1000201", **fields)
    assert sent == requests


def test_the_second_callback_of_a_pair_reads_the_first_one(play):
    """Only the failed transaction shows that the pair had a callback before."""
    play.ended(play.accepted("1000202", "1000201"), within=60)
    play.accepted("1000123", "1000124")
    play.let(1)
    play.world.sequencer.run = lambda: None
    with requests_to_aws(play) as sent:
        play.accepted("1000202", "1000201")
    read = "dynamodb.get_item"
    assert sent == [READ, DEPART, STORE, read, read, STORE, RECORD, START]
