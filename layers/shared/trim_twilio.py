"""Keep of Twilio's SDK the resource that our code calls: trim_twilio.py FOLDER, the twilio package.

The SDK imports every resource of an account (addresses, recordings, SIP domains and so on) with the
first, and each brings its classes. The modules of the others are removed, and so are the imports of
them; what would use them raises NameError. Annotations are no longer evaluated, because they
name removed classes. Nothing else changes.
"""

import ast
import shutil
import sys
from pathlib import Path

ACCOUNT = "twilio.rest.api.v2010.account"
KEPT = f"{ACCOUNT}.call"


class NotAsExpected(Exception):
    """The SDK is not written the way this script knows."""


def trim(twilio: Path) -> None:
    """Rewrite an installed package. Raises NotAsExpected."""
    api = twilio / "rest" / "api"
    account = api / "v2010" / "account"
    call = account / "call"
    for package in (api, account, call):
        _remove_imports(package / "__init__.py")
    for path in (*account.iterdir(), *call.iterdir()):
        if path.name != "__init__.py" and path != call:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_imports(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    body = ast.parse(text).body
    removed = [
        node
        for node in body
        if isinstance(node, ast.ImportFrom)
        and f"{node.module}".startswith(f"{ACCOUNT}.")
        and node.module != KEPT
    ]
    if not removed:
        raise NotAsExpected(f"{path} imports no resource.")
    lines: list[str | None] = list(text.splitlines(keepends=True))
    for node in removed:
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            lines[number - 1] = None
    has_docstring = isinstance(body[0], ast.Expr)
    first = body[0].end_lineno or 0 if has_docstring else 0
    lines.insert(first, "\nfrom __future__ import annotations\n\n")
    path.write_text("".join(line for line in lines if line is not None), encoding="utf-8")


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
