"""What `make` says and does before, while and after it works, in a folder that has little else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.stack import PROJECT
from tests.support import browser, chromium

NONE = "{python} is none. Name one: make PYTHON=python3.13"
TOO_OLD = "{python} is Python 3.10.9. Name another: make PYTHON=python3.13"
MAKE = shutil.which("make") or "make"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project without code: its Makefile, what that starts by its path, requirements."""
    project = tmp_path / "project"
    for name in ("layers/shared", "tests/scanners", "tests/support"):
        (project / name).mkdir(parents=True)
    for name in ("layers/shared", "tests", "tests/scanners"):
        for listed in ("requirements.txt", "constraints.txt"):
            (project / name / listed).touch()
    shutil.copy(PROJECT / "Makefile", project)
    # No application of the machine's, and no waiting for a line.
    for name, said, instead in (
        ("chromium.py", "/Applications/", "/nowhere/"),
        ("install.py", "EVERY_SECONDS = 3.0", "EVERY_SECONDS = 0.1"),
    ):
        text = (PROJECT / "tests/support" / name).read_text(encoding="utf-8")
        assert said in text
        (project / "tests/support" / name).write_text(text.replace(said, instead), encoding="utf-8")
    return project


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def make(
    folder: Path, *arguments: str, path: str = os.environ["PATH"], **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [MAKE, *arguments],
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# -- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, NONE),
        ("", NONE),
        ('test "$1" = --version && echo Python 3.10.9 || echo old', TOO_OLD),
    ],
)
@pytest.mark.parametrize("target", ["run", "lock", "test"])
def test_make_says_in_a_line_that_it_needs_another_python(folder, target, script, said):
    python = folder / "python"
    if script is not None:
        program(python, script)
    ran = make(folder, target, f"PYTHON={python}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        ran.stderr.splitlines()[0]
        == f"Python 3.11 or newer is needed; {said.format(python=python)}"
    )
    assert not (folder / ".venv").exists()


# -- installing ----------------------------------------------------------------------------------

# Makes an environment whose only program does what a test says where pip is asked for.
PYTHON = """
if test "$1 $2" = "-m venv"; then
    mkdir -p "$3/bin" && cp "{pip}" "$3/bin/python"
else
    exec "{real}" "$@"
fi
"""
PIP = """
case "$2" in
    pip) {does} ;;
    tests.local.demo) echo "the demo runs" ;;
    *) exec "{real}" "$@" ;;
esac
"""
TAKES_LONG = """
packages=.venv/lib/python3/site-packages
echo Collecting one; echo "  Downloading one"; echo Processing ./two
while ! test -e found; do sleep 0.05; done
echo Collecting three
echo; echo "Installing collected packages: one, two, three"; mkdir -p $packages/one.dist-info
while ! test -e installed; do sleep 0.05; done
echo Successfully installed one
"""
FAILS = """
for line in $(seq 30); do echo "line $line"; done
printf 'x%.0s' $(seq 1000)
exit 2
"""


def python_with_pip(folder: Path, does: str) -> Path:
    real = sys.executable
    pip = program(folder / "pip", PIP.format(does=does, real=real))
    return program(folder / "python", PYTHON.format(pip=pip, real=real))


def test_the_first_demo_says_how_far_the_installation_is(folder):
    pinned = "# Every version.\none==1.0\ntwo[extra]==2.0\nthree==3.0\n"
    (folder / "tests/constraints.txt").write_text(pinned, encoding="utf-8")
    python = python_with_pip(folder, TAKES_LONG)
    with subprocess.Popen(
        [MAKE, "demo", f"PYTHON={python}"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        said = iter(running.stdout)
        assert "into .venv" in next(said)
        for line, then in (
            ("  2 of 3 packages found\n", "found"),
            ("  1 of 3 packages installed\n", "installed"),
        ):
            assert next(each for each in said if each == line)
            (folder / then).touch()
        assert list(said)[-1] == "the demo runs\n"
    assert running.returncode == 0
    assert (folder / ".venv/installed").exists()


def test_the_end_of_what_pip_said_is_shown_where_it_fails(folder):
    python = python_with_pip(folder, FAILS)
    ran = make(folder, "demo", f"PYTHON={python}")
    said = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert said[0].startswith("pip could not install --constraint tests/constraints.txt")
    assert said[1:21] == [*(f"line {number}" for number in range(12, 31)), "x" * 300]
    assert not (folder / ".venv/installed").exists()
    assert "the demo runs" not in ran.stdout


# -- the whole test run --------------------------------------------------------------------------

TOOLS = ("ruff", "mypy", "cfn-lint", "sam", "python")


@pytest.fixture
def installed(folder: Path) -> Path:
    """With everything installed: tools that only say how they were called."""
    for tool in TOOLS:
        program(folder / ".venv/bin" / tool, f'echo "{tool} $*"')
    for environment in (".venv", "build/scanners"):
        (folder / environment).mkdir(parents=True, exist_ok=True)
        (folder / environment / "installed").touch()
    return folder


def test_a_missing_chromium_is_named_before_anything_is_installed_or_run(folder):
    (folder / "empty").mkdir()
    ran = make(folder, "test", f"PYTHON={sys.executable}", path=str(folder / "empty"))
    assert (ran.returncode, ran.stdout) == (2, "")
    said = ran.stderr.splitlines()
    assert said[0] == "The tests of two pages need Chromium, which is not installed."
    assert "  Debian:    apt-get install chromium" in said
    assert any("macOS" in line for line in said)
    assert not (folder / ".venv").exists()
    assert not (folder / "build").exists()


@pytest.mark.parametrize("jobs", ["-j1", "-j4"])
@pytest.mark.parametrize("chosen", ["with Chromium", "without it"])
def test_the_run_says_what_comes_and_how_long_it_takes_before_it_begins(installed, jobs, chosen):
    tools = installed / "tools"
    tools.mkdir()
    environment = {"path": str(tools)}
    if chosen == "with Chromium":
        program(tools / "chromium", "")
    else:
        environment["CARRIER_PAGE_TEST"] = "without-browser"
    ran = make(installed, jobs, "test", f"PYTHON={sys.executable}", **environment)
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert said[0] == "make test takes about 7 minutes on two idle cores:"
    assert ["install" in said[1], "make check" in said[2], "make pytest" in said[3]] == [True] * 3
    called = [line for line in said[4:] if line.split(" ")[0] in TOOLS]
    assert called[0] == "ruff format --check ."
    assert called[-2].startswith("python -m tests.scanners")
    assert called[-1].startswith("python -m pytest -p tests.support.progress")
    assert "--durations 15 --durations-min 1" in called[-1]


def test_ci_installs_chromium_by_the_same_check():
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python3 tests/support/chromium.py >/dev/null 2>&1 || missing+=(chromium)" in script


def test_a_page_is_shown_by_the_program_that_make_looked_for(monkeypatch, tmp_path):
    found = program(tmp_path / "other-browser", 'echo "shows $*"')
    monkeypatch.delenv("CARRIER_PAGE_TEST", raising=False)
    monkeypatch.setattr(chromium, "PROGRAMS", ("none-such", str(found)))
    assert browser.rendered("http://127.0.0.1:1/", tmp_path).startswith("shows --headless=new")
    monkeypatch.setattr(chromium, "PROGRAMS", ("none-such",))
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        browser.rendered("http://127.0.0.1:1/", tmp_path)
    monkeypatch.setenv("CARRIER_PAGE_TEST", "without-browser")
    with pytest.raises(pytest.skip.Exception, match="CARRIER_PAGE_TEST=without-browser"):
        browser.rendered("http://127.0.0.1:1/", tmp_path)
