"""The service's deliberate waits in virtual time: pauses, retries and HTTP timeouts."""

import contextlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.endpoint
import requests
from requests.adapters import HTTPAdapter

from tests.local import loopback
from tests.local.clock import WORK_HEADER, Clock, current_work

# Modules of the service that use the standard library's clock, and what they use of it.
_MODULES = (
    "callback.call_control.pacing",
    "callback.storage.table",
    "callback.carrier.credentials",
    "callback.webhooks.http_sender",
)


@contextlib.contextmanager
def virtual(clock: Clock) -> Iterator[None]:
    """Inside, the service's time is the clock's, once its functions are loaded."""
    passing = SimpleNamespace(monotonic=clock.seconds, sleep=clock.pause)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        # The service's timestamps and the carrier's agree.
        if service_clock := sys.modules.get("callback.clock"):
            enter(mock.patch.object(service_clock, "now", clock.now))
        for module in filter(None, map(sys.modules.get, _MODULES)):
            enter(mock.patch.object(module, "time", passing))
        enter(mock.patch.object(botocore.endpoint, "time", passing))
        enter(mock.patch.object(HTTPAdapter, "send", _sending(clock)))
        yield


def _sending(clock: Clock) -> Any:
    """A function's requests by the carrier's SDK: their timeouts are virtual, and a receiver that
    knows the clock takes over the work."""
    send = HTTPAdapter.send

    def send_in_virtual_time(
        self: HTTPAdapter, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        work = current_work()
        if work is None or not loopback.is_loopback_url(str(request.url)):
            return send(self, request, **options)
        request.headers[WORK_HEADER] = str(work.number)
        timeout = options.pop("timeout", None)
        seconds = timeout[1] if isinstance(timeout, tuple) else timeout
        if seconds is None:
            return send(self, request, **options)
        try:
            return clock.call_within(seconds, lambda: send(self, request, **options))
        except TimeoutError as error:
            raise requests.ReadTimeout(str(error)) from error

    return send_in_virtual_time
