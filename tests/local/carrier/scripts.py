"""Scripts the behaviour of each called party, by destination.

A destination is matched by its user part: `sip:1000202@demo.example`, `client:1000202` and
`+1000202` all have the user part `1000202`. An exact rule beats a suffix rule (`*202`), a longer
suffix beats a shorter one, and a destination without a match is the default party.
"""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from .checked import checked, mapping

OUTCOMES = ("answer", "busy", "no-answer", "failed")
ANSWERERS = ("human", "machine", "fax", "unknown")
FAULTS = ("429", "500-before", "500-after", "503-before", "reset-before", "reset-after")


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of one party. Seconds are virtual.

    refuse: Twilio error code with which creating the call is refused
    fault: what goes wrong with the create request itself, see FAULTS
    ring_after: from dialing to ringing; None means it never rings
    answer_after: from ringing to the outcome
    outcome: answer, busy, no-answer (never answers), failed
    sip_code: final SIP code of an unanswered call; None means the outcome's own
    hang_up_after: hangs up so long after answering, joined or not
    hang_up_after_joined: hangs up so long after being joined to somebody
    stay_at_most: gives up after so long on the line
    leaves_with_other: hangs up one second after the last other party has left
    answered_by: human, machine, fax, unknown (what answering machine detection finds)
    detection_seconds: how long that detection takes
    greeting_seconds: how long a machine's greeting is
    digits: keys pressed, one string per Gather, in order
    digits_after: seconds into the Gather until they are pressed
    speech: sentences spoken, one per speech Gather
    says: what the party says to the others once it has joined
    record_seconds: how long the party speaks into a Record
    """

    note: str = ""
    refuse: int | None = None
    fault: str | None = None
    ring_after: float | None = 0.5
    answer_after: float = 2.0
    outcome: str = "answer"
    sip_code: int | None = None
    hang_up_after: float | None = None
    hang_up_after_joined: float | None = None
    stay_at_most: float = 60.0
    leaves_with_other: bool = True
    answered_by: str = "human"
    detection_seconds: float = 2.5
    greeting_seconds: float = 6.0
    digits: tuple[str, ...] = ()
    digits_after: float = 1.0
    speech: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    record_seconds: float = 4.0

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}, not {self.outcome!r}")
        if self.answered_by not in ANSWERERS:
            raise ValueError(f"answered_by must be one of {ANSWERERS}, not {self.answered_by!r}")
        if self.fault is not None and self.fault not in FAULTS:
            raise ValueError(f"fault must be one of {FAULTS}, not {self.fault!r}")

    @classmethod
    def parse(cls, values: Any, base: "Behaviour | None" = None) -> "Behaviour":
        """From JSON; a field left out keeps the base's value. Raises ValueError by name."""
        fields = {
            name: [value]
            if name in ("digits", "speech", "says") and isinstance(value, str)
            else value
            for name, value in mapping(values, cls.__name__).items()
        }
        ready: dict[str, Any] = checked(cls, fields)
        return replace(base or cls(), **ready)

    def as_dict(self) -> dict[str, Any]:
        """Only the fields that differ from the default party."""
        plain = asdict(Behaviour())
        return {name: value for name, value in asdict(self).items() if value != plain[name]}


def _endings() -> dict[str, Behaviour]:
    """The scripted parties by their two last digits."""
    return {
        "01": Behaviour("answers at once, stays until the other leaves", answer_after=0.0),
        "02": Behaviour("is busy", outcome="busy", ring_after=None, answer_after=1.5),
        "03": Behaviour("rings and never answers", outcome="no-answer"),
        "04": Behaviour(
            "fails: SIP 404, no such user",
            outcome="failed",
            sip_code=404,
            ring_after=None,
            answer_after=1.0,
        ),
        "05": Behaviour(
            "fails: SIP 503, carrier unavailable",
            outcome="failed",
            sip_code=503,
            ring_after=None,
            answer_after=1.0,
        ),
        "06": Behaviour("is refused at create with 21211 (not a valid number)", refuse=21211),
        "07": Behaviour("is refused at create with 21215 (country not permitted)", refuse=21215),
        "08": Behaviour("answers and hangs up after 1 s", hang_up_after=1.0),
        "09": Behaviour("answers and hangs up after 5 s, joined or not", hang_up_after=5.0),
        "10": Behaviour("answers very late, after ringing 55 s", answer_after=55.0),
        "11": Behaviour(
            "talks for five minutes once joined", hang_up_after_joined=300.0, stay_at_most=600.0
        ),
        "12": Behaviour(
            "is an answering machine with a 6 s greeting", answered_by="machine", answer_after=4.0
        ),
        "13": Behaviour("is a fax", answered_by="fax"),
        "14": Behaviour("cannot be told from a machine (unknown)", answered_by="unknown"),
        "15": Behaviour("presses 1 when asked", digits=("1",) * 9),
        "16": Behaviour("presses 2 when asked", digits=("2",) * 9),
        "17": Behaviour(
            "rings 20 s, then its mailbox answers", answered_by="machine", answer_after=20.0
        ),
        "18": Behaviour("hangs up 5 s after being joined", hang_up_after_joined=5.0),
        "19": Behaviour(
            "stays on the line for ever", stay_at_most=86_400.0, leaves_with_other=False
        ),
        "21": Behaviour("create is answered 429 (never processed)", fault="429"),
        "22": Behaviour("create is answered 500, nothing is dialed", fault="500-before"),
        "23": Behaviour("create is answered 500, and the call is placed", fault="500-after"),
        "24": Behaviour("create is answered 503, nothing is dialed", fault="503-before"),
        "25": Behaviour("connection reset, and the call is placed", fault="reset-after"),
        "26": Behaviour("connection reset, nothing is dialed", fault="reset-before"),
    }


def default_rules() -> dict[str, Behaviour]:
    """The documented table: `10002NN`, and `…555-01NN` for numbers that must look real."""
    rules = {
        "1000123": Behaviour(
            "answers after 3 s, stays until the other leaves (60 s at most)", answer_after=3.0
        ),
        "1000125": Behaviour(
            "answers after 4 s, hangs up 20 s after being joined",
            answer_after=4.0,
            hang_up_after_joined=20.0,
        ),
    }
    for ending, behaviour in _endings().items():
        rules[f"*10002{ending}"] = behaviour
        rules[f"*55501{ending}"] = behaviour
    return rules


def user_part(address: str) -> str:
    """`sip:1000123@demo.example;x=1` -> `1000123`; `+14155550101` -> `14155550101`."""
    address = re.sub(r"^(sips?|client|tel):", "", address.strip(), flags=re.IGNORECASE)
    return re.split(r"[@;?]", address, maxsplit=1)[0].lstrip("+")


class Scripts:
    """Behaviour by destination, in the order: exact, longest suffix, default."""

    def __init__(self, rules: dict[str, Behaviour] | None = None):
        self.rules = default_rules() if rules is None else dict(rules)
        self.default = Behaviour("answers after 2 s, stays until the other leaves")

    def set(self, match: str, behaviour: Behaviour) -> None:
        """`match` is a user part, `*` and its ending, or `*` alone for the default party."""
        if not re.fullmatch(r"\*|\*?[^*\s]+", match):
            raise ValueError(f"a rule matches a user part or '*' and an ending, not {match!r}")
        if match == "*":
            self.default = behaviour
        else:
            self.rules[match.lstrip("+")] = behaviour

    def drop(self, match: str) -> bool:
        return self.rules.pop(match.lstrip("+"), None) is not None

    def behaviour(self, address: str) -> Behaviour:
        """The behaviour of the party at this address."""
        user = user_part(address)
        exact = self.rules.get(user)
        if exact is not None:
            return exact
        for length in range(len(user), 0, -1):
            rule = self.rules.get(f"*{user[-length:]}")
            if rule is not None:
                return rule
        return self.default

    def table(self) -> list[tuple[str, str]]:
        """(destination, description) for display, without the `555-01NN` doubles."""
        rows = [
            (match.replace("*10002", "10002"), behaviour.note)
            for match, behaviour in self.rules.items()
            if not match.startswith("*55501")
        ]
        return [*rows, ("any other", self.default.note)]
