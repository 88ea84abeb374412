"""The carrier's debugger: the entries that Twilio would write into its console's error log."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exchange import Exchange
    from .webhooks import Answer, Delivery


@dataclass
class Line:
    at: str
    level: str  # error, warning
    code: int
    message: str
    call_sid: str
    url: str

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __str__(self) -> str:
        about = " ".join(part for part in (self.call_sid, self.url) if part)
        return f"{self.level} {self.code}: {self.message}" + (f" [{about}]" if about else "")


class Debugger:
    """A bounded log of errors and warnings, each with Twilio's code."""

    def __init__(self, exchange: "Exchange"):
        self.exchange = exchange
        self.lines: deque[Line] = deque(maxlen=exchange.settings.keep_log)

    def error(self, code: int, message: str, *, call_sid: str = "", url: str = "") -> None:
        self._add("error", code, message, call_sid, url)

    def warning(self, code: int, message: str, *, call_sid: str = "", url: str = "") -> None:
        self._add("warning", code, message, call_sid, url)

    def failed_webhook(self, delivery: "Delivery", answer: "Answer") -> None:
        """Log a failed callback. A document's failure is reported where the document is used."""
        if delivery.kind == "conference":
            self.error(16011, answer.error, call_sid=delivery.subject, url=delivery.url)
        elif delivery.kind in ("status", "recording", "amd", "sms-status"):
            self.warning(15003, answer.error, call_sid=delivery.subject, url=delivery.url)
        elif delivery.kind == "media":
            self.error(answer.code, answer.error, call_sid=delivery.subject, url=delivery.url)

    def _add(self, level: str, code: int, message: str, call_sid: str, url: str) -> None:
        at = self.exchange.clock.now().isoformat(timespec="milliseconds")
        line = Line(at, level, code, message, call_sid, url)
        self.lines.append(line)
        self.exchange.tell("debugger", call_sid, level=level, code=code, message=message, url=url)
