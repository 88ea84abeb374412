"""Checks the parameters of a request: every documented parameter of a create.

Source: Twilio docs, call-resource and participant-resource; codes from its error dictionary.
A bad value for which no code is documented is refused with 21200, the code of the resource.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multidict import MultiDictProxy

from .calls import CallOptions, Source
from .conferences import EVENTS, Terms
from .errors import ApiError, refusal

if TYPE_CHECKING:
    from .exchange import Exchange

Form = MultiDictProxy[str]

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
NORTH_AMERICAN = re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}")
SIP = re.compile(r"sips?:[^\s@]+@[^\s@]+", re.IGNORECASE)
CLIENT = re.compile(r"client:\S+", re.IGNORECASE)
DIGITS = re.compile(r"[0-9A-D#*wW]{1,32}")
CALL_EVENTS = ("initiated", "ringing", "answered", "completed")
RECORDING_EVENTS = ("in-progress", "completed", "absent")
MAX_TWIML = 4_000
MAX_CALLBACK_URL = 4_000
GENERAL = 21200

# These numbers behave as with Twilio's test credentials, whatever the account.
MAGIC_TO = {
    "+15005550001": 21217,
    "+15005550002": 21214,
    "+15005550003": 21215,
    "+15005550004": 21216,
}
MAGIC_FROM_INVALID = "+15005550001"
MAGIC_FROM_VALID = "+15005550006"
MAGIC = re.compile(r"\+1500555[0-9]{4}")


def bad(code: int, message: str) -> ApiError:
    return ApiError(400, code, message)


def number(address: str) -> str | None:
    """The E.164 form of a phone number, or None if it is not one."""
    address = address.strip()
    if E164.fullmatch(address):
        return address
    plain = re.sub(r"[\s().-]", "", address)
    if E164.fullmatch(plain):
        return plain
    if NORTH_AMERICAN.fullmatch(plain):
        return f"+{plain}" if plain.startswith("1") and len(plain) == 11 else f"+1{plain}"
    return None


def is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or 0 < parts.port < 65_536
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_fine


def url(form: Form, name: str) -> str:
    """An absolute URL or nothing. Raises ApiError 21205."""
    text = form.get(name, "").strip()
    if text and not is_url(text):
        raise bad(21205, f"{name} is not a valid URL: {text}")
    return text


def callback_url(form: Form, name: str) -> str:
    """Like `url`, with the callback's own rules. Raises ApiError 21609."""
    text = form.get(name, "").strip()
    if text and (
        not is_url(text) or len(text) > MAX_CALLBACK_URL or "_" in (urlsplit(text).hostname or "")
    ):
        raise bad(21609, f"Invalid '{name}': {text[:200]} is not a valid HTTP(s) URL.")
    return text


def method(form: Form, name: str, default: str = "POST") -> str:
    """GET or POST. Raises ApiError 21209."""
    text = form.get(name, "").strip().upper() or default
    if text not in ("GET", "POST"):
        raise bad(21209, f"{name} is not a valid HTTP method: {text}")
    return text


def whole(
    form: Form, name: str, low: int, high: int, default: int | None, code: int = GENERAL
) -> int | None:
    """A whole number within its range. Raises ApiError with `code`."""
    text = form.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise bad(code, f"Invalid {name}: {text} (must be {low} to {high})")
    return int(text)


def flag(form: Form, name: str, default: bool = False) -> bool:
    """A boolean. Any value that does not mean yes is False."""
    text = form.get(name, "").strip().lower()
    return default if not text else text in ("true", "1", "yes")


def words(
    form: Form, name: str, known: tuple[str, ...] | Mapping[str, object], default: str, code: int
) -> tuple[str, ...]:
    """A list, as a repeated key or as words between spaces. Raises ApiError with `code`."""
    words = " ".join(form.getall(name, [])).replace(",", " ").split() or default.split()
    for word in words:
        if word not in known:
            raise bad(code, f"Invalid {name}: {word}")
    return tuple(words)


def one_of(form: Form, name: str, known: tuple[str, ...], code: int = GENERAL) -> str:
    """One of several words. The first is the default. Raises ApiError with `code`."""
    text = form.get(name, "").strip()
    if not text:
        return known[0]
    if text not in known:
        raise bad(code, f"Invalid {name}: {text} (must be one of {', '.join(filter(None, known))})")
    return text


def parties(exchange: "Exchange", form: Form, *, twiml_needed: bool = True) -> tuple[str, str]:
    """To and From as they will be dialed. Raises the error that Twilio returns."""
    missing = {
        "to": bad(21201, "No 'To' number is specified"),
        "from": bad(21213, "No 'From' number is specified"),
        "url": bad(21205, "Url parameter is required."),
    }
    present = {
        "to": bool(form.get("To", "").strip()),
        "from": bool(form.get("From", "").strip()),
        "url": not twiml_needed
        or any(form.get(name, "").strip() for name in ("Url", "Twiml", "ApplicationSid")),
    }
    for name in exchange.settings.validation_order.split("-"):
        if not present[name]:
            raise missing[name]
    to, from_ = form["To"].strip(), form["From"].strip()
    is_number = not (SIP.fullmatch(to) or CLIENT.fullmatch(to))
    if is_number:
        dialed = number(to)
        if dialed is None:
            raise refusal(21211, to=to)
        caller = number(from_)
        if caller is None:
            raise refusal(21212, from_=from_)
        to, from_ = dialed, caller
        if to == from_:
            raise refusal(21211, to=to)
    else:
        from_ = number(from_) or from_
    if MAGIC.fullmatch(from_) and from_ != MAGIC_FROM_VALID:
        raise refusal(21212 if from_ == MAGIC_FROM_INVALID else 21210, from_=from_)
    if E164.fullmatch(from_) and not exchange.may_show(from_) and from_ != MAGIC_FROM_VALID:
        raise refusal(21210, from_=from_)
    if to in MAGIC_TO:
        raise refusal(MAGIC_TO[to], to=to, from_=from_)
    if exchange.settings.trial and is_number and to not in exchange.numbers:
        raise refusal(21219, to=to)
    behaviour = exchange.scripts.behaviour(to)
    if behaviour.refuse is not None:
        raise refusal(behaviour.refuse, to=to, from_=from_)
    return to, from_


def call_options(exchange: "Exchange", form: Form) -> CallOptions:
    """The other parameters of a call's create. Raises the error that Twilio returns."""
    options = CallOptions(source=source(exchange, form))
    application = exchange.applications.get(form.get("ApplicationSid", "").strip())
    if application:
        options.status_callback = application.status_callback
        options.status_method = application.status_callback_method
    else:
        options.status_callback = callback_url(form, "StatusCallback")
        options.status_method = method(form, "StatusCallbackMethod")
        options.status_events = words(form, "StatusCallbackEvent", CALL_EVENTS, "completed", 21626)
    _leg_options(form, options, shortest_ring=1)
    one_of(form, "Trim", ("trim-silence", "do-not-trim"))
    url(form, "ClientNotificationUrl")
    async_amd = form.get("AsyncAmd", "").strip()
    options.async_detection = async_amd == "true"
    if async_amd and async_amd not in ("true", "false"):
        exchange.debugger.warning(
            21234, f"AsyncAmd is the word true or false, not {async_amd!r}; taken as false"
        )
    options.detection_callback = url(form, "AsyncAmdStatusCallback")
    options.detection_method = method(form, "AsyncAmdStatusCallbackMethod")
    if options.async_detection and options.detection and not options.detection_callback:
        exchange.debugger.warning(21262, "No AMD status callback URL provided")
    digits = form.get("SendDigits", "").strip()
    if digits and not DIGITS.fullmatch(digits):
        raise bad(21206, f"Invalid SendDigits: {digits}")
    if digits:
        options.send_digits, options.detection = digits, ""
    return options


def _leg_options(form: Form, options: CallOptions, *, shortest_ring: int) -> None:
    """The parameters that calls and participants share."""
    options.timeout = float(whole(form, "Timeout", shortest_ring, 600, 60, 21208) or 60)
    limit = whole(form, "TimeLimit", 60, 86_400, None)
    options.time_limit = None if limit is None else float(limit)
    options.detection = one_of(form, "MachineDetection", ("", "Enable", "DetectMessageEnd"), 21234)
    options.detection_timeout = float(whole(form, "MachineDetectionTimeout", 3, 59, 30, 21234) or 0)
    whole(form, "MachineDetectionSpeechThreshold", 1_000, 6_000, 2_400, 21234)
    whole(form, "MachineDetectionSpeechEndThreshold", 500, 5_000, 1_200, 21234)
    whole(form, "MachineDetectionSilenceTimeout", 2_000, 10_000, 5_000, 21234)
    options.record = flag(form, "Record")
    options.recording_channels = one_of(form, "RecordingChannels", ("mono", "dual"))
    options.recording_track = one_of(form, "RecordingTrack", ("both", "inbound", "outbound"))
    options.recording_callback = callback_url(form, "RecordingStatusCallback")
    options.recording_method = method(form, "RecordingStatusCallbackMethod")
    options.recording_events = words(
        form, "RecordingStatusCallbackEvent", RECORDING_EVENTS, "completed", GENERAL
    )
    options.caller_id = form.get("CallerId", "").strip()
    _sip_credentials(form)
    byoc = form.get("Byoc", "").strip()
    if byoc and not re.fullmatch(r"BY[0-9a-fA-F]{32}", byoc):
        raise bad(GENERAL, f"Invalid Byoc: {byoc}")


def _sip_credentials(form: Form) -> None:
    user, password = form.get("SipAuthUsername", ""), form.get("SipAuthPassword", "")
    if len(user) > 255:
        raise bad(21221, "Invalid SipAuthUsername. Must be fewer than 256 chars")
    if re.search(r"[\s\"<>@]", user):
        raise bad(21222, "Invalid SipAuthUsername. Illegal chars")
    if len(password) > 255:
        raise bad(21223, "Invalid SipAuthPassword. Must be fewer than 256 chars")
    if re.search(r"[\r\n]", password):
        raise bad(21224, "Invalid SipAuthPassword. Illegal chars")
    if user and not password:
        raise bad(21225, "SipAuthPassword is required when providing SipAuthUsername")


def source(exchange: "Exchange", form: Form) -> Source:
    """The source of the call's TwiML: ApplicationSid before Url before Twiml."""
    sid = form.get("ApplicationSid", "").strip()
    if sid:
        application = exchange.applications.get(sid)
        if application is None:
            raise bad(21218, f"Invalid ApplicationSid: {sid}")
        return Source(
            application.voice_url,
            application.voice_method,
            fallback_url=application.voice_fallback_url,
            fallback_method=application.voice_fallback_method,
        )
    target = url(form, "Url")
    fallback = url(form, "FallbackUrl")
    how, fallback_how = method(form, "Method"), method(form, "FallbackMethod")
    if target:
        return Source(target, how, fallback_url=fallback, fallback_method=fallback_how)
    document = form.get("Twiml", "")
    if len(document) > MAX_TWIML:
        raise bad(
            exchange.settings.long_twiml_code,
            f"Twiml is {len(document)} characters long, {MAX_TWIML} are allowed",
        )
    return Source(twiml=document, fallback_url=fallback, fallback_method=fallback_how)


def participant_options(exchange: "Exchange", form: Form) -> tuple[CallOptions, Terms]:
    """The other parameters of a participant's create."""
    options = CallOptions()
    options.status_callback = callback_url(form, "StatusCallback")
    options.status_method = method(form, "StatusCallbackMethod")
    options.status_events = words(form, "StatusCallbackEvent", CALL_EVENTS, "completed", 21626)
    _leg_options(form, options, shortest_ring=5)
    if any(name.startswith("AsyncAmd") for name in form):
        exchange.debugger.warning(21263, "AsyncAmd parameters belong to calls, not participants")
    options.detection_callback = url(form, "AmdStatusCallback")
    options.detection_method = method(form, "AmdStatusCallbackMethod")
    options.async_detection = True
    label = form.get("Label", "").strip()
    if len(label) > 128 or "/" in label or re.fullmatch(r"CA[0-9a-f]{32}", label):
        raise bad(
            16024,
            "Invalid participant label, must not exceed 128 characters, must not be a CallSid, "
            "must not contain '/'",
        )
    coach = form.get("CallSidToCoach", "").strip()
    terms = Terms(
        muted=flag(form, "Muted"),
        beep=one_of(form, "Beep", ("true", "false", "onEnter", "onExit")),
        start_on_enter=flag(form, "StartConferenceOnEnter", default=True),
        end_on_exit=flag(form, "EndConferenceOnExit"),
        label=label,
        wait_url=url(form, "WaitUrl") if "WaitUrl" in form else None,
        wait_method=method(form, "WaitMethod"),
        max_participants=whole(form, "MaxParticipants", 2, 250, 250) or 250,
        record=form.get("ConferenceRecord", "") in ("true", "record-from-start"),
        region=one_of(form, "Region", ("us1", "us2", "ie1", "de1", "sg1", "br1", "au1", "jp1")),
        coach=coach if flag(form, "Coaching") else "",
        status_callback=callback_url(form, "ConferenceStatusCallback"),
        status_method=method(form, "ConferenceStatusCallbackMethod"),
        status_events=words(form, "ConferenceStatusCallbackEvent", EVENTS, "start end", 21626),
        recording_callback=callback_url(form, "ConferenceRecordingStatusCallback"),
        recording_method=method(form, "ConferenceRecordingStatusCallbackMethod"),
        recording_events=words(
            form,
            "ConferenceRecordingStatusCallbackEvent",
            RECORDING_EVENTS,
            "completed",
            GENERAL,
        ),
    )
    one_of(form, "JitterBufferSize", ("large", "medium", "small", "off"))
    one_of(form, "ConferenceTrim", ("trim-silence", "do-not-trim"))
    return options, terms
