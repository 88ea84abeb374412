"""Tables of the texts that are understood, and of the sentences that reply to them."""

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
# Principles). Two are left out: CANCEL means the callback here, and YES may reply to anything.
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
_MAY_GO_ON = frozenset({Command.STOP, Command.CALL})  # "Stop calling me", "CALL 415 555 0123"
_WORD_AND_REST = re.compile(r"\W*([A-Za-z]+)(.*)", re.DOTALL)
_PUNCTUATION = " \t\r\n.,;:!?'\""


@dataclass(frozen=True)
class Text:
    """`number` is the text after CALL. `is_answered`: the carrier has replied already."""

    command: Command
    number: str = ""
    is_answered: bool = False


def parse(body: str, opt_out: OptOut | None = None) -> Text:
    """`opt_out` is the command that the carrier recognized, in any language, and replied to."""
    if opt_out:
        return Text(Command(opt_out), is_answered=True)
    # Numbers copied from an address book contain invisible formatting characters.
    visible = "".join(c for c in body if unicodedata.category(c) != "Cf")
    matched = _WORD_AND_REST.fullmatch(visible)
    if matched is None:
        return Text(Command.UNKNOWN)
    command = _WORDS.get(matched[1].upper(), Command.UNKNOWN)
    rest = matched[2].strip(_PUNCTUATION)
    if command is Command.CALL:
        if rest.upper() == "ME":
            return Text(Command.CALL_ME)
        return Text(command, rest) if rest else Text(Command.UNKNOWN)
    if rest and command not in _MAY_GO_ON:
        return Text(Command.UNKNOWN)
    return Text(command)


CALLING = "We are calling you now."
STARTED = "You can be called and texted again."
NO_NUMBER = "We cannot call that number. Please text CALL and the number."
CANCELED = "Your call is canceled."
NOTHING_TO_CANCEL = "There is no call to cancel."
NO_CALL = "You have not requested a call."

_OTHER_COMMANDS = "CANCEL ends it, STATUS reports its state, STOP ends all calls and texts."
# By the commands that the texted number accepts: (CALL <number>, CALL ME).
HELP = {
    (True, True): "Text CALL and a number: we call you, then that number."
    f" CALL ME connects you to us. {_OTHER_COMMANDS}",
    (True, False): f"Text CALL and a number: we call you, then that number. {_OTHER_COMMANDS}",
    (False, True): f"Text CALL ME: we call you and connect you to us. {_OTHER_COMMANDS}",
    (False, False): "Texts to this number cannot request a call. STOP ends all calls and texts.",
}

STATUS = {
    CallbackStatus.WAITING: "Your call waits for its turn.",
    CallbackStatus.ACCEPTED: "Your call is about to start.",
    CallbackStatus.CALLING_FIRST: "Your call is being set up.",
    CallbackStatus.CALLING_SECOND: "Your call is being set up.",
    CallbackStatus.CALLING_BOTH: "Your call is being set up.",
    CallbackStatus.CONNECTED: "Your call is in progress.",
    CallbackStatus.ENDED: "Your last call is over.",
}

_BUSY = "We are very busy. Please text again in a few minutes."

# By the stable code of a refusal, or of an invalid field.
_SENTENCES = {
    "emergency_number": "We never call emergency numbers. Please dial it yourself.",
    "same_party": "That is your own number. Please text CALL and the other party's number.",
    "invalid_address": NO_NUMBER,
    "callback_in_progress": "We are calling both of you already.",
    "request_in_progress": "We are working on your request.",
    "carrier_rejected": "That number cannot be called.",
    "too_many_waiting": _BUSY,
    "no_departure": _BUSY,
    "store_contended": "That did not work. Please text again in a minute.",
}
_OTHER_REFUSAL = "Sorry, we cannot make that call."


def refusal(*codes: str) -> str:
    """The sentence of the first code that has one, or a general one."""
    return next((_SENTENCES[code] for code in codes if code in _SENTENCES), _OTHER_REFUSAL)
