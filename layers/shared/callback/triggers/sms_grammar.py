"""What a text says, and what is said back: tables."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from callback.carrier.reports import OptOut
from callback.lifecycle.models import CallbackStatus


class Command(StrEnum):
    STOP = "stop"
    START = "start"
    HELP = "help"
    CALL = "call"
    CALL_ME = "call_me"
    CANCEL = "cancel"
    STATUS = "status"
    UNKNOWN = "unknown"


# The carriers' words for STOP, START and HELP (Twilio docs, "Advanced Opt-Out"; CTIA, Messaging
# Principles), but for CANCEL, which here means the callback, and YES, which may answer anything.
_WORDS = {
    "STOP": Command.STOP,
    "STOPALL": Command.STOP,
    "UNSUBSCRIBE": Command.STOP,
    "END": Command.STOP,
    "QUIT": Command.STOP,
    "REVOKE": Command.STOP,
    "OPTOUT": Command.STOP,
    "START": Command.START,
    "UNSTOP": Command.START,
    "HELP": Command.HELP,
    "INFO": Command.HELP,
    "CALL": Command.CALL,
    "CANCEL": Command.CANCEL,
    "STATUS": Command.STATUS,
}
_AND_THEN = frozenset({Command.STOP, Command.CALL})  # "Stop calling me", "CALL 415 555 0123"
_TEXT = re.compile(r"\W*([A-Za-z]+)(.*)", re.DOTALL)
_AROUND = " \t\r\n.,;:!?'\""


@dataclass(frozen=True)
class Text:
    """`number` is what followed CALL; `is_answered`: the carrier has replied already."""

    command: Command
    number: str = ""
    is_answered: bool = False


def parse(body: str, opt_out: OptOut | None = None) -> Text:
    """`opt_out` is what the carrier took the text for, in any language; it has replied itself."""
    if opt_out:
        return Text(Command(opt_out), is_answered=True)
    # Numbers copied from an address book come in marks that show nothing.
    shown = "".join(c for c in body if unicodedata.category(c) != "Cf")
    matched = _TEXT.fullmatch(shown)
    if matched is None:
        return Text(Command.UNKNOWN)
    command = _WORDS.get(matched[1].upper(), Command.UNKNOWN)
    more = matched[2].strip(_AROUND)
    if command is Command.CALL:
        if more.upper() == "ME":
            return Text(Command.CALL_ME)
        return Text(command, more) if more else Text(Command.UNKNOWN)
    if more and command not in _AND_THEN:
        return Text(Command.UNKNOWN)
    return Text(command)


CALLING = "We are calling you now."
STARTED = "You can be called and texted again."
NO_NUMBER = "That is not a number that we can call. Please text CALL and the number."
CANCELED = "Your call is canceled."
NOTHING_TO_CANCEL = "There is no call to cancel."
NO_CALL = "You have not asked for a call."

_AND_THEN_SAY = "CANCEL ends it, STATUS tells how it is, STOP ends all calls and texts."
# By what the number that was texted takes: (CALL <number>, CALL ME).
HELP = {
    (True, True): "Text CALL and a number: we call you, then that number."
    f" CALL ME connects you to us. {_AND_THEN_SAY}",
    (True, False): f"Text CALL and a number: we call you, then that number. {_AND_THEN_SAY}",
    (False, True): f"Text CALL ME: we call you and connect you to us. {_AND_THEN_SAY}",
    (False, False): "Nobody can be called by a text to this number. STOP ends all calls and texts.",
}

STATUS = {
    CallbackStatus.ACCEPTED: "Your call is about to start.",
    CallbackStatus.CALLING_FIRST: "Your call is being set up.",
    CallbackStatus.CALLING_SECOND: "Your call is being set up.",
    CallbackStatus.CALLING_BOTH: "Your call is being set up.",
    CallbackStatus.CONNECTED: "Your call is going on.",
    CallbackStatus.ENDED: "Your last call is over.",
}

# By the stable code of a refusal, or of the one field that was wrong.
_REFUSALS = {
    "emergency_number": "Emergency numbers are never called back: please dial it yourself.",
    "same_party": "That is your own number. Please text CALL and the other party's number.",
    "invalid_address": NO_NUMBER,
    "callback_in_progress": "The two of you are being called already.",
    "request_in_progress": "We are working on it.",
    "carrier_rejected": "That number cannot be called.",
    "store_contended": "That did not work just now. Please text again in a minute.",
}
_REFUSED = "Sorry, we cannot make that call."


def refusal(*codes: str) -> str:
    """The first of these that there is a sentence for."""
    return next((_REFUSALS[code] for code in codes if code in _REFUSALS), _REFUSED)
