"""Keeps client webhooks on this machine. Only this module lets them go to a loopback address.

The deployed service has only `http_sender.PUBLIC`, and no setting changes it. Once the handlers are
loaded, this module replaces their senders and rules. The replacements resolve every name to
127.0.0.1 and trust only the certificate authority of a `Receiver`.
"""

import importlib
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from tests.local import loopback
from tests.local.clock import WORK_HEADER, Clock, current_work
from tests.local.functions import Functions
from tests.local.receiver import Receiver

# How many undelivered webhooks are remembered, so that each is reported once.
_REMEMBERED = 1000

# Called once for each undeliverable webhook: its id, its URL and the reason.
Undelivered = Callable[[str, str, str], None]


def stay_here(
    functions: Functions,
    receiver: Receiver | None,
    undelivered: Undelivered | None = None,
    clock: Clock | None = None,
) -> None:
    """From now on the functions send webhooks to the receiver. Without one they fail to connect.
    With a `clock`, their timeouts are virtual."""
    rules = rules_for(receiver)
    for function in functions:
        module = function.module
        if hasattr(module, "sender"):
            module.sender = sender_for(receiver, undelivered, clock)
        if hasattr(module, "webhook_rules"):
            module.webhook_rules = rules


def rules_for(receiver: Receiver | None) -> Any:
    # The package is on the path once the functions are loaded.
    http_sender = importlib.import_module("callback.webhooks.http_sender")
    ports = {443, receiver.port} if receiver else {443}
    return http_sender.Rules(permits=loopback.is_loopback, ports=frozenset(ports))


def sender_for(
    receiver: Receiver | None,
    undelivered: Undelivered | None = None,
    clock: Clock | None = None,
) -> Any:
    http_sender = importlib.import_module("callback.webhooks.http_sender")
    reported: deque[str] = deque(maxlen=_REMEMBERED)

    class Sender(http_sender.Sender):  # type: ignore[misc, name-defined]
        def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
            send = super().post
            try:
                if clock is None:
                    return send(url, body, headers)
                work = current_work()
                if work:
                    headers = {**headers, WORK_HEADER: str(work.number)}
                try:
                    return clock.call_within(http_sender.SECONDS, lambda: send(url, body, headers))
                except TimeoutError:
                    raise http_sender.Unreachable("timed_out") from None
            except (http_sender.NotAllowed, http_sender.Unreachable) as reason:
                webhook_id = headers["webhook-id"]
                if undelivered and webhook_id not in reported:
                    reported.append(webhook_id)
                    # In a context of its own, so that its output does not count as the function's.
                    Context().run(undelivered, webhook_id, url, reason.code)
                raise

    return Sender(
        rules_for(receiver),
        resolve=lambda _: ["127.0.0.1"],
        context=receiver.trusting if receiver else ssl.create_default_context,
    )
