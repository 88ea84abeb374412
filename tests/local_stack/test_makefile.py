"""What `make` says where there is no Python to make its environment with."""

import os
import shutil
import subprocess

import pytest

from tests.local.stack import PROJECT

NONE = "{python} is none. Name one: make PYTHON=python3.13"
TOO_OLD = "{python} is Python 3.10.9. Name another: make PYTHON=python3.13"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, NONE),
        ("", NONE),
        ('test "$1" = --version && echo Python 3.10.9 || echo old', TOO_OLD),
    ],
)
@pytest.mark.parametrize("target", ["run", "lock"])
def test_make_says_in_a_line_that_it_needs_another_python(tmp_path, target, script, said):
    shutil.copy(PROJECT / "Makefile", tmp_path)
    for name in ("layers/shared", "tests"):
        (tmp_path / name).mkdir(parents=True)
        for listed in ("requirements.txt", "constraints.txt"):
            (tmp_path / name / listed).touch()
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        python.chmod(0o755)
    ran = subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        ran.stderr.splitlines()[0]
        == f"Python 3.11 or newer is needed; {said.format(python=python)}"
    )
    assert not (tmp_path / ".venv").exists()
