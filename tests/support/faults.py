"""Named points at which a function can be killed, and one wrapper that puts them there.

Every call that a function makes to the outside (DynamoDB, Step Functions, the carrier) has two
points: before the call goes out, and after it has come back. A killed function does nothing
more, as if its sandbox were gone. None of this is deployed.
"""

import itertools
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """Not an Exception: no code of ours may catch it."""


class Faults:
    """`arm` a point: the `nth` time a function reaches it, the function is killed, or `work` runs
    first, as if concurrently. `lose` drops the answer of a call: boto3 then retries it.

    `calls` changes whenever a call has returned: the call may have changed state that was read
    before. It is counted after the call, because another thread may read meanwhile.
    """

    def __init__(self) -> None:
        self._armed: dict[str, tuple[int, Callable[[], None] | None]] = {}
        self._lost: set[str] = set()
        self.killed: list[str] = []
        self.calls = 0
        self._count = itertools.count(1)

    def arm(self, point: str, nth: int = 1, work: Callable[[], None] | None = None) -> None:
        self._armed[point] = nth, work

    def lose(self, name: str) -> None:
        self._lost.add(name)

    def clear(self) -> None:
        self._armed.clear()
        self._lost.clear()

    def reach(self, point: str) -> None:
        if point not in self._armed:
            return
        left, work = self._armed[point]
        if left > 1:
            self._armed[point] = left - 1, work
            return
        del self._armed[point]
        if work:
            work()
            return
        self.killed.append(point)
        raise Killed(point)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **kwargs: Any) -> Any:
            self.reach(f"before {name}")
            try:
                result = call(*args, **kwargs)
                if name in self._lost:
                    self._lost.discard(name)
                    result = call(*args, **kwargs)
            finally:
                self.calls = next(self._count)  # never the same twice, on any thread
            self.reach(f"after {name}")
            return result

        return faulty


class Faulty:
    """A client whose methods have points, named `<prefix>.<method>`."""

    def __init__(self, client: Any, prefix: str, faults: Faults) -> None:
        self._client = client
        self._prefix = prefix
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name == "exceptions" or not callable(attribute):
            return attribute
        return self._faults.around(f"{self._prefix}.{name}", attribute)
