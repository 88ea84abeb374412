"""The carrier's credentials as they are stored, behind the cache of a function's parameters."""

import json
from collections.abc import Callable
from typing import Any

from callback.storage.parameters import ParameterUnreadable

ACCOUNT_SID = "AC" + "0" * 32


class Secret:
    """`value` is the stored secret, `cached` the fetched one; `fails`: fetching raises."""

    def __init__(self, **value: Any) -> None:
        self.value = value
        self.cached: dict[str, Any] | None = value
        self.fails = False
        self.fetched = 0
        self.meanwhile: Callable[[], Any] = lambda: None

    def get(self, _name: str, *, force_fetch: bool) -> str:
        if self.cached is None or force_fetch:
            self.fetched += 1
            self.meanwhile()
            if self.fails:
                raise ParameterUnreadable(_name, "ThrottlingException")
            self.cached = self.value
        return json.dumps({"account_sid": ACCOUNT_SID, **self.cached})
