"""What `make pytest` prints while it goes on."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import pytest_run

SOON = """
from tests.support import progress

progress.EVERY_SECONDS = {seconds}
pytest_plugins = ["tests.support.progress"]
"""

FEW = """
import pytest

def test_that_passes():
    pass

def test_that_fails():
    assert False

@pytest.fixture
def broken():
    yield
    raise RuntimeError

def test_that_breaks(broken):
    pass

def test_that_is_skipped():
    pytest.skip("why not")
"""

ONE_WAITS = """
import pathlib
import time

def test_that_is_quick():
    pass

def test_that_takes_long():
    while not pathlib.Path(__file__).with_name("go_on").exists():
        time.sleep(0.05)
"""


def command(folder: Path, text: str, seconds: float, *arguments: str) -> dict[str, object]:
    (folder / "conftest.py").write_text(SOON.format(seconds=seconds), encoding="utf-8")
    (folder / "test_few.py").write_text(text, encoding="utf-8")
    return pytest_run.command(folder, "--tb=line", *arguments)


def test_it_names_what_fails_at_once_and_says_in_lines_how_far_it_is(tmp_path):
    ran = subprocess.run(**command(tmp_path, FEW, 0), capture_output=True, check=False)
    said = re.sub(r"(?m)^0:0\d", "0:00", ran.stdout).splitlines()
    began = said.index("collected 4 items")
    assert [line for line in said[began + 1 : said.index("", began + 2)] if line] == [
        "0:00  1 of 4 tests (25%)",
        "FAILED test_few.py::test_that_fails",
        "0:00  2 of 4 tests (50%), 1 failed",
        "FAILED test_few.py::test_that_breaks",
        "0:00  3 of 4 tests (75%), 2 failed",
        "0:00  4 of 4 tests (100%), 2 failed",
        "0:00  4 of 4 tests (100%), 2 failed",
    ]
    assert "1 failed, 2 passed, 1 skipped" in said[-1]
    assert any(line.startswith("FAILED ") and "assert False" in line for line in said[began:])


def test_it_says_a_line_while_one_test_takes_long(tmp_path):
    with subprocess.Popen(
        **command(tmp_path, ONE_WAITS, 0.2, "-n", "1"), stdout=subprocess.PIPE
    ) as running:
        said = iter(running.stdout)
        before = list(itertools.takewhile(lambda each: " 1 of 2 tests (50%)" not in each, said))
        assert not any(" of 0 tests" in each for each in before)
        line = next(said)
        assert line.rstrip().endswith("; now test_few.py")
        (tmp_path / "go_on").touch()
        assert " 2 of 2 tests (100%)" in "".join(said)
    assert running.returncode == 0


@pytest.mark.parametrize("workers", ["0", "2"])
def test_with_v_pytest_names_every_test_and_it_says_nothing(tmp_path, workers):
    ran = subprocess.run(
        **command(tmp_path, FEW, 0.01, "-v", "-n", workers), capture_output=True, check=False
    )
    assert " of 4 tests" not in ran.stdout
    assert "test_few.py::test_that_passes" in ran.stdout
