"""Finds Chromium, in which the pages are tested, and explains what to do if it is missing.

`python tests/support/chromium.py` prints that and fails if it is missing; it needs only the
standard library.
"""

import os
import shutil
import sys

WITHOUT = ("CARRIER_PAGE_TEST", "without-browser")  # in the environment, to go without it

# Searched in this order, on the PATH unless the entry is a path.
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

ADVICE = f"""\
The tests of two pages need Chromium, which is not installed.
  Debian:    apt-get install chromium
  macOS:     install Google Chrome or Chromium in /Applications
  elsewhere: have one of {", ".join(PROGRAMS[:3])} on the PATH
Or leave these tests out: {"=".join(WITHOUT)} make test"""


def find() -> str | None:
    """The program's path."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def is_left_out() -> bool:
    """Whether the developer chose to run the tests without Chromium."""
    name, value = WITHOUT
    return os.environ.get(name) == value


if __name__ == "__main__":
    if not (find() or is_left_out()):
        sys.exit(ADVICE)
