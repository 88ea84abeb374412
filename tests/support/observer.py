"""What only an operator sees: the carrier's calls and transcripts, the table, the logs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import requests
from moto.dynamodb.models import dynamodb_backends

from tests.local.logs import Line
from tests.local.stack import LocalStack
from tests.local.template import ACCOUNT, REGION


class Observer:
    def __init__(self, stack: LocalStack) -> None:
        assert stack.carrier is not None
        self._stack = stack
        self._http = requests.Session()
        self.url = stack.url
        self.account_sid, self.auth_token = stack.account_sid, stack.auth_token

    def close(self) -> None:
        self._http.close()

    def _sim(self, method: str, path: str, **options: Any) -> Any:
        url = f"{self._stack.carrier_url}/sim/{path}"
        answer = self._http.request(method, url, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def calls(self) -> list[dict[str, Any]]:
        """Every call that the carrier has placed, oldest first."""
        calls: list[dict[str, Any]] = self._sim("GET", "calls")
        return calls

    def heard(self, call_sid: str) -> str:
        """Everything that the called party heard, one line each."""
        return "\n".join(map(str, self._sim("GET", f"calls/{call_sid}")["hears"]))

    @contextlib.contextmanager
    def fault(self, fault: str, **fields: Any) -> Iterator[None]:
        self._sim("POST", "faults", json={"fault": fault, **fields})
        try:
            yield
        finally:
            self._sim("DELETE", "faults")

    def rows(self) -> set[str]:
        """The keys of all rows in the table. Rows may disappear at any time: `reconcile` cleans up
        after the callbacks of other tests."""
        rows = dynamodb_backends[ACCOUNT][REGION].tables[self._stack.table_name].items
        return {
            f"{row.hash_key.value} {row.range_key.value}"
            for rows_of_a_key in list(rows.values())
            for row in list(rows_of_a_key.values())
        }

    def execution_text(self, callback_id: str) -> str:
        """The whole execution history of a callback."""
        return str(self._stack.history(callback_id))

    def billed_transitions(self, callback_id: str) -> int:
        return self._stack.billed_transitions(callback_id)

    def lines(self) -> list[Line]:
        """The latest log lines."""
        return list(self._stack.logs)

    def logged(self) -> str:
        return "\n".join(line.text for line in self._stack.logs)
