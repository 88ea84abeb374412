"""`python tests/support/install.py ENVIRONMENT ARGUMENT...`: `pip install` there, with a progress
line.

pip's output goes to a file, because pip lists every other version if one is missing. If pip fails,
the end of its output is shown.
"""

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

EVERY_SECONDS = 3.0
SHOWN_LINES, SHOWN_CHARACTERS = 20, 300
OPTIONS = (
    *("--no-compile", "--disable-pip-version-check", "--no-warn-conflicts"),
    *("--root-user-action=ignore", "--progress-bar=off"),
)


def pinned(arguments: list[str]) -> int:
    """How many packages the arguments' constraints name; 0 without any."""
    files = [Path(value) for name, value in itertools.pairwise(arguments) if name == "--constraint"]
    return sum(len(re.findall(r"^\S+==", path.read_text("utf-8"), re.M)) for path in files)


def installed(environment: Path) -> int:
    return len(list(environment.glob("lib/python*/site-packages/*.dist-info")))


def how_far(log: str, new: int, total: int) -> str:
    """One line, from pip's output so far and the number of packages collected."""
    installs = "\nInstalling collected packages" in log
    done = new if installs else len(re.findall(r"^(?:Collecting|Processing) ", log, re.M))
    # More than are pinned: pip's build tools are not pinned.
    count = f"{min(done, total)} of {total}" if total else str(done)
    return f"  {count} packages {'installed' if installs else 'found'}"


def main(environment: Path, arguments: list[str]) -> int:
    log, total, before = environment / "pip.log", pinned(arguments), installed(environment)
    python = str(environment / "bin" / "python")
    with log.open("w", encoding="utf-8") as words:
        pip = subprocess.Popen(
            [python, "-m", "pip", "install", *OPTIONS, *arguments], stdout=words, stderr=words
        )
        while True:
            try:
                code = pip.wait(EVERY_SECONDS)
                break
            except subprocess.TimeoutExpired:
                said = log.read_text("utf-8", errors="replace")
                print(how_far(said, installed(environment) - before, total), flush=True)
    if code:
        print(f"pip could not install {' '.join(arguments)}:", file=sys.stderr)
        for line in log.read_text("utf-8", errors="replace").splitlines()[-SHOWN_LINES:]:
            print(line[:SHOWN_CHARACTERS], file=sys.stderr)
    return min(code, 1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
