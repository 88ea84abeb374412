"""Pages as a browser shows them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def rendered(url: str, profile: Path) -> str:
    """The page's text after its scripts ran, in headless Chromium.

    CARRIER_PAGE_TEST=without-browser skips; a missing browser is a failure otherwise.
    """
    if os.environ.get("CARRIER_PAGE_TEST") == "without-browser":
        pytest.skip("CARRIER_PAGE_TEST=without-browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.fail(
            "pages are checked in headless Chromium, which is not installed: "
            "`apt-get install chromium`, or set CARRIER_PAGE_TEST=without-browser to go without"
        )
    result = subprocess.run(
        [
            *(
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout
