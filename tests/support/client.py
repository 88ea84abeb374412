"""An HTTP client of the API that waits for conditions, never for real time."""

from collections.abc import Callable
from typing import Any

import requests

from tests.local.stack import CALLER_ID, LocalStack

PATH = "/voice/call/callback"
SEED = {
    "leg_A": {"to": "1000123", "from": "1000125"},
    "leg_B": {"to": "1000125", "from": "1000123"},
}


def between(a: str, b: str, **fields: Any) -> dict[str, Any]:
    """Tests share a few parties and do not wait for the previous test's calls to end."""
    return {"leg_A": _leg(a), "leg_B": _leg(b), "allow_parallel": True, **fields}


def _leg(to: str) -> dict[str, Any]:
    return {"to": to, "from": CALLER_ID} if to.startswith("+") else {"to": to}


class Client:
    """`key` is an API key as `Authorization: Bearer` takes it."""

    def __init__(self, stack: LocalStack, key: str) -> None:
        self.url, self.key = stack.url, key
        self.until, self.clock = stack.until, stack.clock
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        self._http.close()

    def post(self, body: Any, **headers: str) -> requests.Response:
        return self._http.post(self.url + PATH, json=body, headers=headers)

    def post_raw(self, body: bytes) -> requests.Response:
        return self._http.post(self.url + PATH, data=body)

    def get(self, callback_id: str) -> requests.Response:
        return self._http.get(f"{self.url}{PATH}/{callback_id}")

    def list(self, **query: Any) -> requests.Response:
        return self._http.get(self.url + PATH, params=query)

    def delete(self, callback_id: str) -> requests.Response:
        return self._http.delete(f"{self.url}{PATH}/{callback_id}")

    def accepted(self, body: dict[str, Any]) -> str:
        """The id of a callback that was accepted."""
        answer = self.post(body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["callback_id"])

    def record_when(
        self, callback_id: str, condition: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """The record as soon as the condition holds; fails after ten virtual minutes."""
        record: dict[str, Any] = {}

        def holds() -> bool:
            record.clear()
            record.update(self.get(callback_id).json())
            return condition(record)

        self.until(holds)
        return record

    def ended(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.record_when(self.accepted(body), has_ended)


def has_ended(record: dict[str, Any]) -> bool:
    return bool(record["status"] == "ended")


def leg_is(name: str, *statuses: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record[f"leg_{name}"]["status"] in statuses
