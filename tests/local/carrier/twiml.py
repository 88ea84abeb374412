"""Reads TwiML: documents, verbs and Twilio's errors and warnings about them.

Source: Twilio docs, voice/twiml; codes from its error dictionary.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_BYTES = 64 * 1024

# Attributes each element knows; others bring warning 12200 and are ignored.
ATTRIBUTES: dict[str, frozenset[str]] = {
    name: frozenset(attributes.split())
    for name, attributes in {
        "Response": "version",
        "Say": "voice language loop",
        "Play": "loop digits",
        "Pause": "length",
        "Gather": "input action method timeout finishOnKey numDigits actionOnEmptyResult "
        "speechTimeout hints language profanityFilter speechModel enhanced bargeIn debug "
        "partialResultCallback partialResultCallbackMethod maxSpeechTime",
        "Dial": "action method timeout timeLimit callerId answerOnBridge hangupOnStar record "
        "recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent "
        "recordingTrack recordingConfigurationId trim ringTone referUrl referMethod sequential "
        "callReason events",
        "Number": "url method sendDigits statusCallback statusCallbackEvent statusCallbackMethod "
        "byoc machineDetection machineDetectionTimeout machineDetectionSpeechThreshold "
        "machineDetectionSpeechEndThreshold machineDetectionSilenceTimeout amdStatusCallback "
        "amdStatusCallbackMethod phoneNumberSid",
        "Sip": "username password url method statusCallback statusCallbackEvent "
        "statusCallbackMethod machineDetection amdStatusCallback amdStatusCallbackMethod",
        "Client": "url method statusCallback statusCallbackEvent statusCallbackMethod",
        "Conference": "muted beep startConferenceOnEnter endConferenceOnExit participantLabel "
        "jitterBufferSize waitUrl waitMethod maxParticipants record region trim coach "
        "statusCallback statusCallbackEvent statusCallbackMethod recordingStatusCallback "
        "recordingStatusCallbackMethod recordingStatusCallbackEvent recordingConfigurationId "
        "eventCallbackUrl",
        "Redirect": "method",
        "Reject": "reason",
        "Hangup": "",
        "Leave": "",
        "Record": "action method timeout finishOnKey maxLength playBeep trim "
        "recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent "
        "transcribe transcribeCallback recordingConfigurationId",
        "Message": "to from action method statusCallback",
        "Body": "",
        "Media": "",
    }.items()
}
VERBS = frozenset(
    ["Say", "Play", "Pause", "Gather", "Dial", "Redirect", "Reject", "Hangup", "Record", "Leave"]
)
# Real verbs this simulator does not play. They are reported, never ignored silently.
NOT_SIMULATED = frozenset(
    ["Enqueue", "Connect", "Start", "Stop", "Pay", "Prompt", "Refer", "Queue", "Sms", "Stream"]
)
NESTS: dict[str, frozenset[str]] = {
    "Gather": frozenset(["Say", "Play", "Pause"]),
    "Dial": frozenset(["Number", "Sip", "Client", "Conference", "Queue", "Sim", "Application"]),
}
BOOLEAN = re.compile(r"true|false")
METHOD = re.compile(r"GET|POST", re.IGNORECASE)
NATURAL = re.compile(r"\d+")
POSITIVE = re.compile(r"0*[1-9]\d*")

# (element, attribute) -> (pattern, code of the warning). A bad value counts as the default.
VALUES: dict[tuple[str, str], tuple[re.Pattern[str], int]] = {
    ("Say", "loop"): (NATURAL, 13510),
    ("Play", "loop"): (NATURAL, 13410),
    ("Play", "digits"): (re.compile(r"[0-9A-DwW#*]+"), 13410),
    ("Pause", "length"): (NATURAL, 13910),
    ("Redirect", "method"): (METHOD, 13710),
    ("Gather", "method"): (METHOD, 13312),
    ("Gather", "timeout"): (re.compile(r"auto|\d+"), 13313),
    ("Gather", "numDigits"): (POSITIVE, 13314),
    ("Gather", "finishOnKey"): (re.compile(r"[0-9#*]?"), 13310),
    ("Gather", "actionOnEmptyResult"): (BOOLEAN, 12200),
    ("Record", "method"): (METHOD, 13610),
    ("Record", "timeout"): (NATURAL, 12200),
    ("Record", "maxLength"): (POSITIVE, 12200),
    ("Record", "playBeep"): (BOOLEAN, 13616),
    ("Dial", "method"): (METHOD, 13210),
    ("Dial", "timeout"): (POSITIVE, 13212),
    ("Dial", "timeLimit"): (POSITIVE, 12200),
    ("Dial", "hangupOnStar"): (BOOLEAN, 12200),
    ("Dial", "answerOnBridge"): (BOOLEAN, 12200),
    ("Number", "method"): (METHOD, 13221),
    ("Number", "sendDigits"): (re.compile(r"[0-9*#wW]+"), 13222),
    ("Sip", "method"): (METHOD, 13241),
    ("Conference", "muted"): (BOOLEAN, 13230),
    ("Conference", "endConferenceOnExit"): (BOOLEAN, 13231),
    ("Conference", "startConferenceOnEnter"): (BOOLEAN, 13232),
    ("Conference", "waitMethod"): (METHOD, 13234),
    ("Conference", "beep"): (re.compile(r"true|false|onEnter|onExit"), 13235),
    ("Conference", "maxParticipants"): (POSITIVE, 12200),
    ("Conference", "trim"): (re.compile(r"trim-silence|do-not-trim"), 13239),
}


class TwimlError(Exception):
    """A document Twilio does not execute; `code` is its debugger code."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Verb:
    """One element: its known attributes, its trimmed text, its children."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Verb"] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        return self.attributes.get(name, "true" if default else "false") == "true"

    def number(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))


@dataclass
class Document:
    verbs: list[Verb]
    warnings: list[tuple[int, str]]


def parse(source: bytes | str) -> Document:
    """Read one document. Raises TwimlError: 12100 not XML, 12102 wrong root, 11750 over 64 kB."""
    data = source.encode() if isinstance(source, str) else source
    if len(data) > MAX_BYTES:
        raise TwimlError(11750, "TwiML response body too large")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise TwimlError(12100, "Document parse failure: document types are not allowed")
    try:
        root = ET.fromstring(data)  # noqa: S314 - no entities can be declared, see above
    except (ET.ParseError, ValueError) as error:
        raise TwimlError(12100, f"Document parse failure: {error}") from error
    if root.tag != "Response":
        raise TwimlError(12102, f"The root element must be Response, not {root.tag}")
    warnings: list[tuple[int, str]] = []

    def warn(code: int, message: str) -> None:
        warnings.append((code, message))

    _attributes(root, warn)
    verbs = []
    for element in root:
        if element.tag in VERBS | NOT_SIMULATED or element.tag == "Message":
            verbs.append(_verb(element, warn))
        else:
            warn(12200, f"Schema validation warning: unknown element {element.tag} is ignored")
    return Document(verbs, warnings)


def _verb(element: ET.Element, warn: Callable[[int, str], None]) -> Verb:
    verb = Verb(element.tag, _attributes(element, warn), (element.text or "").strip())
    if element.tag == "Client" and not verb.text:
        verb.text = (element.findtext("Identity") or "").strip()
    if element.tag in ("Say", "Message", "Body"):
        # SSML inside Say is spoken as its text; Message may carry Body and Media.
        verb.text = " ".join("".join(element.itertext()).split())
    if element.tag == "Message":
        verb.children = [_verb(child, warn) for child in element]
    allowed = NESTS.get(element.tag)
    if allowed is not None:
        for child in element:
            if child.tag in allowed:
                verb.children.append(_verb(child, warn))
            else:
                code = 13320 if element.tag == "Gather" else 12200
                warn(code, f"{element.tag}: {child.tag} may not be nested and is ignored")
    elif element.tag in ("Redirect", "Reject", "Hangup", "Pause", "Play", "Record") and len(
        element
    ):
        warn(12200, f"Schema validation warning: {element.tag} nests nothing")
    return verb


def _attributes(element: ET.Element, warn: Callable[[int, str], None]) -> dict[str, str]:
    known = ATTRIBUTES.get(element.tag)
    kept: dict[str, str] = {}
    for name, value in element.attrib.items():
        if known is not None and name not in known:
            warn(12200, f"Schema validation warning: {element.tag} has no attribute {name}")
            continue
        rule = VALUES.get((element.tag, name))
        if rule and not rule[0].fullmatch(value):
            warn(rule[1], f"{element.tag}: invalid {name} value {value!r}")
            continue
        kept[name] = value
    return kept
