"""What is measured is what the counted requests cost, and nothing leaves this machine."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import build, instructions, warm
from tests.bench.events import Parties, numbers
from tests.bench.instructions import NotMeasured
from tests.bench.warm import WARM_UP, Function
from tests.bench.world import run_world

counted = pytest.mark.skipif(not instructions.can_count(), reason="valgrind is not installed")
PYTHON = os.path.realpath(sys.executable)


def function(folder: Path, source: str) -> Function:
    (folder / "handler.py").write_text(source)
    return Function(PYTHON, (folder,), {"PATH": os.environ["PATH"]}, "https://127.0.0.1:9")


@counted
def test_a_tiny_run_prints_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["--parts", "warm_webhook", "size"]
    monkeypatch.setattr(sys, "argv", ["bench", "--installed", "--requests", "1", *parts])

    assert bench.main() == 0

    table = capsys.readouterr().out
    title, size, textbook, ours = table.splitlines()
    assert re.fullmatch(r"Python 3[.][0-9]+ +M instr[.]", title), table
    assert re.fullmatch(r"layer, MB +[0-9.]+  [(][0-9.]+ as a zip file[)]", size), table
    requests = r"  [(]([1-9])[.]0 to AWS, 0[.]0 to the carrier[)]"
    their = re.fullmatch(rf"textbook webhook +([0-9.]+){requests}", textbook)
    our = re.fullmatch(rf"webhook +([0-9.]+) +([0-9.]+) of the textbook{requests}", ours)
    assert their, table
    assert our, table
    assert float(our[2]) == pytest.approx(float(our[1]) / float(their[1]), abs=0.05)
    assert their[2] == "1"  # it stores the status


@counted
def test_only_the_counted_requests_count(tmp_path: Path) -> None:
    work = "for _ in range(event['steps']): pass"
    start = "for _ in range(1_000_000): pass\n"
    handler = f"{start}def handler(event, context):\n {work}\n return {{'statusCode': 204}}\n"
    one = function(tmp_path, handler)
    warm_up = [{"steps": 100_000}] * WARM_UP

    few = one.measure([*warm_up, {"steps": 0}], [*warm_up, {"steps": 1000}])
    many = one.measure([*warm_up, {"steps": 0}], [*warm_up, *[{"steps": 11_000}] * 4])

    assert 20 < (many.instructions - few.instructions) / 10_000 < 500  # a step of the loop
    assert few.instructions < 1_000_000


def test_no_other_host_resolves(tmp_path: Path) -> None:
    lookup = "import socket; socket.getaddrinfo('93.184.216.34', 443)"
    handler = f"def handler(event, context):\n {lookup}\n return {{'statusCode': 204}}\n"

    with pytest.raises(NotMeasured, match="not a loopback address"):
        function(tmp_path, handler).answer([{}] * (WARM_UP + 1))


def test_an_answer_that_is_an_error_is_not_measured(tmp_path: Path) -> None:
    handler = "def handler(event, context):\n return {'statusCode': 500, 'body': 'broken'}\n"

    with pytest.raises(NotMeasured, match="500: broken"):
        function(tmp_path, handler).answer([{}])


def test_each_post_makes_one_call_at_the_local_carrier(tmp_path: Path) -> None:
    made = build.Build(PYTHON, *build.installed_paths())
    with run_world(tmp_path) as world:
        textbook = warm.textbook_function(made, world, "create", tmp_path)
        parties = Parties()

        seen = textbook.answer([parties.textbook_post() for _ in range(WARM_UP + 2)])

        warm.check_dialed(world, 0, WARM_UP + 2)
        with pytest.raises(NotMeasured, match="made 7 calls"):
            warm.check_dialed(world, 0, WARM_UP + 1)
    assert (seen["aws"], seen["carrier"]) == (3 * 2, 2)


def test_no_number_is_called_twice() -> None:
    listed = [*numbers()]

    assert len({*listed}) == len(listed)
