"""Counts the instructions that a command executes, with valgrind.

A count is the same on every machine and in every run, to a thousandth. It contains neither the
network nor the disk, nor what other processes do.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

_COUNT = re.compile(r"==([0-9]+)==\s+I\s+refs:\s+([0-9,]+)")
_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


class NotMeasured(Exception):
    """A handler failed, or valgrind did not count. The message is what was printed."""


def can_count() -> bool:
    return shutil.which("valgrind") is not None


def check() -> None:
    """End this process with a message if valgrind is not installed."""
    if not can_count():
        sys.exit("valgrind is not installed; on Debian: apt-get install valgrind")


def run(command: list[str], variables: Mapping[str, str], text: str = "") -> str:
    """Run a command on the input `text` without counting. Raises NotMeasured."""
    return _run(command, variables, text).stdout


def count(command: list[str], variables: Mapping[str, str], text: str = "") -> list[int]:
    """Instructions of the command's processes, in the order in which they end.

    A forked process has those of its parent up to the fork, too. Raises NotMeasured.
    """
    done = _run([*_VALGRIND, *command], variables, text)
    counts = [int(each.replace(",", "")) for _, each in _COUNT.findall(done.stderr)]
    if not counts:
        raise NotMeasured(done.stderr)
    return counts


def _run(
    command: list[str], variables: Mapping[str, str], text: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=variables, check=False, capture_output=True, text=True, input=text
    )
    if done.returncode != 0:
        raise NotMeasured(done.stdout + done.stderr)
    return done
