"""Text messages: those the API sends, those sent as a reply, and those received.

Source: Twilio docs, message-resource and messaging webhook request.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .calls import API_VERSION, GEO
from .twiml import TwimlError, Verb, parse
from .webhooks import Form, Outbox

if TYPE_CHECKING:
    from .exchange import Exchange

GSM_SINGLE, GSM_PART = 160, 153
UNICODE_SINGLE, UNICODE_PART = 70, 67


@dataclass
class Message:
    sid: str
    to: str
    from_: str
    body: str
    direction: str  # inbound, outbound-api, outbound-reply
    status: str
    created: datetime
    outbox: Outbox
    status_callback: str = ""
    messaging_service_sid: str | None = None
    media: tuple[str, ...] = ()
    sent: datetime | None = None
    updated: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.updated = self.created

    @property
    def segments(self) -> int:
        """The number of parts. A character outside ASCII makes the message Unicode."""
        is_gsm = self.body.isascii()
        single, part = (GSM_SINGLE, GSM_PART) if is_gsm else (UNICODE_SINGLE, UNICODE_PART)
        length = len(self.body)
        return 1 if length <= single else -(-length // part)


def new_message(
    exchange: "Exchange",
    *,
    to: str,
    from_: str,
    body: str,
    direction: str,
    status: str,
    status_callback: str = "",
    messaging_service_sid: str | None = None,
    media: tuple[str, ...] = (),
) -> Message:
    """Create a message and add it to the account's list."""
    sid = exchange.new_sid("MM" if media else "SM")
    message = Message(
        sid=sid,
        to=to,
        from_=from_,
        body=body,
        direction=direction,
        status=status,
        created=exchange.clock.now(),
        outbox=Outbox(exchange, sid),
        status_callback=status_callback,
        messaging_service_sid=messaging_service_sid,
        media=media,
    )
    exchange.messages[sid] = message
    while len(exchange.messages) > exchange.settings.keep_ended:
        exchange.messages.pop(next(iter(exchange.messages)))
    exchange.tell(f"message.{status}", sid, to=to, text=body)
    return message


def dispatch(exchange: "Exchange", message: Message) -> None:
    """Send an outbound message: it is sent after 1 s and delivered after 2 s."""
    exchange.clock.call_later(1.0, _set_status, exchange, message, "sent")
    exchange.clock.call_later(2.0, _set_status, exchange, message, "delivered")


def _set_status(exchange: "Exchange", message: Message, status: str) -> None:
    message.status = status
    message.updated = exchange.clock.now()
    if status == "sent":
        message.sent = message.updated
    exchange.tell(f"message.{status}", message.sid, to=message.to)
    if message.status_callback:
        form: Form = {
            "MessageSid": message.sid,
            "SmsSid": message.sid,
            "MessageStatus": status,
            "SmsStatus": status,
            "From": message.from_,
            "To": message.to,
            "AccountSid": exchange.account_sid,
            "ApiVersion": API_VERSION,
        }
        message.outbox.push("sms-status", message.status_callback, "POST", form)


def receive(exchange: "Exchange", *, to: str, from_: str, body: str) -> Message:
    """Receive a text at one of the account's numbers, and request its SMS URL."""
    message = new_message(
        exchange, to=to, from_=from_, body=body, direction="inbound", status="received"
    )
    exchange.spawn(_request_reply(exchange, message))
    return message


async def _request_reply(exchange: "Exchange", message: Message) -> None:
    number = exchange.numbers.get(message.to)
    if number is None or not number.sms_url:
        exchange.debugger.error(21601, f"no SMS URL is set for {message.to}; the text is dropped")
        return
    form: Form = {
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsMessageSid": message.sid,
        "AccountSid": exchange.account_sid,
        "From": message.from_,
        "To": message.to,
        "Body": message.body,
        "NumMedia": "0",
        "NumSegments": str(message.segments),
        "ApiVersion": API_VERSION,
        "SmsStatus": "received",
    }
    for side in ("From", "To"):
        for place in GEO:
            form[side + place] = ""
    url, method = number.sms_url, number.sms_method
    verbs: list[Verb] | None = None
    for attempt in range(2):
        answer = await exchange.webhooks.send("sms", url, method, form, subject=message.sid)
        try:
            if answer.cause:
                raise TwimlError(answer.code or 11200, answer.error)
            verbs = parse(answer.body).verbs if answer.body.strip() else []
            break
        except TwimlError as error:
            exchange.debugger.error(error.code, error.message, call_sid=message.sid, url=url)
            if attempt or not number.sms_fallback_url:
                return
            form |= {"ErrorCode": str(error.code), "ErrorUrl": url}
            url, method = number.sms_fallback_url, number.sms_fallback_method
    for verb in verbs or []:
        if verb.name != "Message":
            exchange.debugger.warning(
                12200, f"<{verb.name}> is not a messaging verb", call_sid=message.sid
            )
            continue
        bodies = [child.text for child in verb.children if child.name == "Body"]
        reply = new_message(
            exchange,
            to=verb.get("to") or message.from_,
            from_=verb.get("from") or message.to,
            body=" ".join(bodies) if bodies else verb.text,
            direction="outbound-reply",
            status="queued",
            status_callback=urljoin(url, verb.get("statusCallback"))
            if verb.get("statusCallback")
            else "",
            media=tuple(child.text for child in verb.children if child.name == "Media"),
        )
        dispatch(exchange, reply)
