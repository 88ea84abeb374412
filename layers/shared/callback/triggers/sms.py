"""Texts to a tenant's number: each carries out a command and gets one sentence or no reply."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from aws_lambda_powertools import Logger

from callback.amounts import Rate
from callback.carrier.reports import InboundText
from callback.errors import CallbackEnded, CallbackError, CallbackNotFound, InvalidRequest
from callback.lifecycle.models import Callback, CallbackStatus, Source
from callback.numbering import emergency, phone_numbers
from callback.requests import cancellation, idempotent, schema
from callback.requests.intake import Intake, Requested
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.suppression import SuppressionList
from callback.triggers import sms_grammar
from callback.triggers.sms_grammar import Command
from callback.triggers.throttle import Throttle

logger = Logger(child=True)

# A STOP cancels at most these live callbacks: the longest page of the list. No number has more.
_MOST_STOPPED = 100

# Without it we would exchange texts for ever with a machine that replies to every text.
_UNREQUESTED_HELP_EVERY = timedelta(hours=1)

# Texts of one sender that are processed: each costs a reply.
_TEXTS = Rate(20, seconds=3600)


@dataclass(frozen=True)
class Texter:
    """The sender's `address`, the tenant's `number` that was texted, the carrier's id of the text,
    and the party to connect to, as the sender wrote it."""

    address: str
    number: TenantNumber
    message_sid: str
    party: str


@dataclass(frozen=True)
class SmsTrigger:
    numbers: NumberStore
    suppressed: SuppressionList
    throttle: Throttle
    intake: Intake

    def reply(self, message: InboundText) -> str | None:
        """Carry out the command of a text. None: no reply is sent.

        STOP comes before everything else: the sender is on the suppression list before anything
        else happens. Until START, a sender on the list gets no call and no text, nor a call that
        was requested before. Twilio confirms a STOP itself and then blocks our texts (its error
        21610). A number that the tenant never calls gets no text either: a text to a premium
        number costs money, too.
        """
        number, sender = self.numbers.get(message.recipient), message.sender
        if number is None or not number.owned:
            logger.warning("text to a number of no tenant")
            return None
        if not phone_numbers.is_e164(sender) or self._is_owned(sender):
            logger.warning("text from a sender that cannot be called", tenant=number.tenant)
            return None
        text = sms_grammar.parse(message.body, message.opt_out)
        logger.info("text received", command=text.command, tenant=number.tenant)
        is_list_command = text.command in (Command.STOP, Command.START)
        is_callable = self.intake.admission.may_ever_call(number.tenant, sender)
        if not is_list_command and (
            not is_callable or self.suppressed.contains(number.tenant, sender)
        ):
            logger.info("text from a sender that is not called", tenant=number.tenant)
            return None
        texter = Texter(sender, number, message.message_sid, text.number)
        needs_reply = is_callable and not text.is_answered and text.command is not Command.STOP
        may_reply = needs_reply and self._is_within_rate(texter)
        if not (may_reply or is_list_command):
            logger.info("text without a reply", tenant=number.tenant)
            return None
        sentence = _COMMANDS[text.command](self, texter)
        return sentence if may_reply else None

    def _is_within_rate(self, texter: Texter) -> bool:
        return self.throttle.allow(
            texter.number.tenant, "text", texter.address, _TEXTS, by=texter.message_sid
        )

    def _is_owned(self, sender: str) -> bool:
        """Whether a tenant owns the number: two of our numbers could text each other for ever. A
        verified caller ID is not owned: it is a person's number, and that person may text."""
        number = self.numbers.get(sender)
        return number is not None and number.owned

    def _stop(self, texter: Texter) -> str | None:
        self.suppressed.add(texter.number.tenant, texter.address)
        for callback in self._newest(texter, _ends_on_stop, limit=_MOST_STOPPED):
            self._cancel(callback)
        return None

    def _start(self, texter: Texter) -> str:
        self.suppressed.remove(texter.number.tenant, texter.address)
        return sms_grammar.STARTED

    def _help(self, texter: Texter) -> str:
        number = texter.number
        return sms_grammar.HELP[number.sms_to_anyone, number.sms_to is not None]

    def _cancel_live(self, texter: Texter) -> str:
        live = self._latest_own(texter, _is_live)
        is_canceled = live is not None and self._cancel(live)
        return sms_grammar.CANCELED if is_canceled else sms_grammar.NOTHING_TO_CANCEL

    def _status(self, texter: Texter) -> str:
        latest = self._latest_own(texter, lambda _: True)
        return sms_grammar.STATUS[latest.status] if latest else sms_grammar.NO_CALL

    def _help_occasionally(self, texter: Texter) -> str | None:
        is_allowed = self.throttle.allow_once(
            texter.number.tenant,
            "help",
            texter.address,
            _UNREQUESTED_HELP_EVERY,
            by=texter.message_sid,
        )
        return self._help(texter) if is_allowed else None

    def _call(self, texter: Texter) -> str:
        home = phone_numbers.region(texter.number.number) or self.intake.dial_plan.home_region
        digits = "".join(filter(str.isdecimal, texter.party))
        # Both ways to dial it: 911 and +1 911.
        if any(emergency.is_emergency(dialed, home) for dialed in (digits, f"+{digits}")):
            return sms_grammar.refusal("emergency_number")
        if not texter.number.sms_to_anyone:
            return self._help(texter)
        to = phone_numbers.read(texter.party, home)
        return self._request(texter, to) if to else sms_grammar.NO_NUMBER

    def _call_me(self, texter: Texter) -> str:
        to = texter.number.sms_to
        return self._request(texter, to) if to else self._help(texter)

    def _request(self, texter: Texter, to: str) -> str:
        """Request the callback with the sender as A. Both parties see the number that was texted,
        never each other's."""
        number = texter.number
        body = {
            "leg_A": {"to": texter.address, "from": number.number},
            "leg_B": {"to": to, "from": number.number},
        }
        try:
            request = schema.parse_callback(
                json.dumps(body).encode(),
                home_region=self.intake.dial_plan.home_region,
                sip_domain=self.intake.dial_plan.sip_domain,
            )
            requested = Requested(number.tenant, Source.SMS, request)
            idempotent.take(self.intake, requested, f"sms_{texter.message_sid}")
        except InvalidRequest as invalid:
            return sms_grammar.refusal(*(error["code"] for error in invalid.members["errors"]))
        except CallbackError as refusal:
            logger.info("text refused", code=refusal.code, tenant=number.tenant)
            return sms_grammar.refusal(refusal.code)
        return sms_grammar.CALLING

    def _latest_own(self, texter: Texter, matches: Callable[[Callback], bool]) -> Callback | None:
        """The newest match in which the sender is A, however it was requested."""
        own = self._newest(texter, lambda c: c.leg_a.to == texter.address and matches(c), limit=1)
        return own[0] if own else None

    def _newest(
        self, texter: Texter, matches: Callable[[Callback], bool], *, limit: int
    ) -> list[Callback]:
        """The matches in which the sender is either party, the newest first."""
        return self.intake.store.listings.page(
            texter.number.tenant,
            matches=matches,
            number=texter.address,
            after=None,
            before=None,
            limit=limit,
            cursor=None,
        ).callbacks

    def _cancel(self, callback: Callback) -> bool:
        try:
            cancellation.cancel(
                self.intake.store,
                self.intake.control.workflow,
                tenant=callback.tenant,
                callback_id=callback.callback_id,
            )
        except (CallbackEnded, CallbackNotFound):  # NotFound if it was erased meanwhile
            return False
        return True


_COMMANDS: dict[Command, Callable[[SmsTrigger, Texter], str | None]] = {
    Command.STOP: SmsTrigger._stop,
    Command.START: SmsTrigger._start,
    Command.HELP: SmsTrigger._help,
    Command.CALL: SmsTrigger._call,
    Command.CALL_ME: SmsTrigger._call_me,
    Command.CANCEL: SmsTrigger._cancel_live,
    Command.STATUS: SmsTrigger._status,
    Command.UNKNOWN: SmsTrigger._help_occasionally,
}


def _is_live(callback: Callback) -> bool:
    return callback.status is not CallbackStatus.ENDED


def _ends_on_stop(callback: Callback) -> bool:
    """STOP ends the ringing. It does not end a conversation: the parties can hang up."""
    return _is_live(callback) and callback.status is not CallbackStatus.CONNECTED
