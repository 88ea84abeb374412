"""A text to a tenant's number: what is done, and the one sentence that is replied, if any."""

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
from callback.triggers.throttle import Once

logger = Logger(child=True)

# Nobody is rung by more than these at once; the page of the list is as long.
_STOPPED_AT_MOST = 100

# A machine that answers every text would otherwise talk with us for ever.
_HELP_UNASKED_EVERY = timedelta(hours=1)

# Of one sender's: each costs a reply.
_TEXTS = Rate(20, seconds=3600)


@dataclass(frozen=True)
class Texter:
    """Who texted, which of the tenant's numbers, the carrier's id of the text, and whom they want
    to be connected to, as they wrote it."""

    address: str
    number: TenantNumber
    message_sid: str
    wanted: str


@dataclass(frozen=True)
class SmsTrigger:
    numbers: NumberStore
    suppressed: SuppressionList
    once: Once
    intake: Intake

    def reply(self, message: InboundText) -> str | None:
        """None: no reply is sent.

        STOP wins over everything: it is on the list before anything else is done, and who is on it
        gets neither a call nor a text until START, nor a call that anybody has asked for already.
        Twilio itself confirms a STOP, and stops our texts from then on (its error 21610).
        Whom the tenant never calls is not texted either: a text to a premium number costs as well.
        """
        number, sender = self.numbers.get(message.recipient), message.sender
        if number is None or not number.owned:
            logger.warning("a text to a number that no tenant has")
            return None
        if not phone_numbers.is_e164(sender) or self._is_a_service(sender):
            logger.warning("a text from who cannot be called", tenant=number.tenant)
            return None
        text = sms_grammar.parse(message.body, message.opt_out)
        logger.info("text received", command=text.command, tenant=number.tenant)
        is_list_command = text.command in (Command.STOP, Command.START)
        is_callable = self.intake.admission.may_ever_call(number.tenant, sender)
        if not is_list_command and (
            not is_callable or self.suppressed.contains(number.tenant, sender)
        ):
            logger.info("a text from who is not called", tenant=number.tenant)
            return None
        texter = Texter(sender, number, message.message_sid, text.number)
        is_answerable = is_callable and not text.is_answered and text.command is not Command.STOP
        may_answer = is_answerable and self._is_one_of_few(texter)
        if not (may_answer or is_list_command):
            logger.info("a text that is not answered", tenant=number.tenant)
            return None
        sentence = _DO[text.command](self, texter)
        return sentence if may_answer else None

    def _is_one_of_few(self, texter: Texter) -> bool:
        return self.once.may_so_often(
            texter.number.tenant, "text", texter.address, _TEXTS, by=texter.message_sid
        )

    def _is_a_service(self, sender: str) -> bool:
        """Two of ours would otherwise go on texting each other. A verified caller ID is the number
        of somebody, who may text."""
        number = self.numbers.get(sender)
        return number is not None and number.owned

    def _stop(self, texter: Texter) -> str | None:
        self.suppressed.add(texter.number.tenant, texter.address)
        for callback in self._newest(texter, _may_be_stopped, at_most=_STOPPED_AT_MOST):
            self._cancel(callback)
        return None

    def _start(self, texter: Texter) -> str:
        self.suppressed.remove(texter.number.tenant, texter.address)
        return sms_grammar.STARTED

    def _help(self, texter: Texter) -> str:
        number = texter.number
        return sms_grammar.HELP[number.sms_to_anyone, number.sms_to is not None]

    def _cancel_live(self, texter: Texter) -> str:
        live = self._latest(texter, _is_live)
        is_canceled = live is not None and self._cancel(live)
        return sms_grammar.CANCELED if is_canceled else sms_grammar.NOTHING_TO_CANCEL

    def _status(self, texter: Texter) -> str:
        latest = self._latest(texter, lambda _: True)
        return sms_grammar.STATUS[latest.status] if latest else sms_grammar.NO_CALL

    def _not_understood(self, texter: Texter) -> str | None:
        may = self.once.may(
            texter.number.tenant,
            "help",
            texter.address,
            _HELP_UNASKED_EVERY,
            by=texter.message_sid,
        )
        return self._help(texter) if may else None

    def _call(self, texter: Texter) -> str:
        written = texter.wanted
        home = phone_numbers.region(texter.number.number) or self.intake.dial_plan.home_region
        digits = "".join(filter(str.isdecimal, written))
        # However it is dialed: 911, or +1 911.
        if any(emergency.is_emergency(dialed, home) for dialed in (digits, f"+{digits}")):
            return sms_grammar.refusal("emergency_number")
        if not texter.number.sms_to_anyone:
            return self._help(texter)
        to = phone_numbers.read(written, home)
        return self._ask(texter, to) if to else sms_grammar.NO_NUMBER

    def _call_me(self, texter: Texter) -> str:
        to = texter.number.sms_to
        return self._ask(texter, to) if to else self._help(texter)

    def _ask(self, texter: Texter, to: str) -> str:
        """The sender is A; both are shown the number that was texted, never each other's."""
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
        except CallbackError as refused:
            logger.info("text refused", code=refused.code, tenant=number.tenant)
            return sms_grammar.refusal(refused.code)
        return sms_grammar.CALLING

    def _latest(self, texter: Texter, wanted: Callable[[Callback], bool]) -> Callback | None:
        """The sender's own newest: one in which they are A, whoever asked for it."""
        own = self._newest(texter, lambda c: c.leg_a.to == texter.address and wanted(c), at_most=1)
        return own[0] if own else None

    def _newest(
        self, texter: Texter, wanted: Callable[[Callback], bool], *, at_most: int
    ) -> list[Callback]:
        """Those in which the sender is either party, the newest first."""
        return self.intake.store.listings.page(
            texter.number.tenant,
            matches=wanted,
            number=texter.address,
            after=None,
            before=None,
            limit=at_most,
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
        except (CallbackEnded, CallbackNotFound):  # the latter if it was erased meanwhile
            return False
        return True


_DO: dict[Command, Callable[[SmsTrigger, Texter], str | None]] = {
    Command.STOP: SmsTrigger._stop,
    Command.START: SmsTrigger._start,
    Command.HELP: SmsTrigger._help,
    Command.CALL: SmsTrigger._call,
    Command.CALL_ME: SmsTrigger._call_me,
    Command.CANCEL: SmsTrigger._cancel_live,
    Command.STATUS: SmsTrigger._status,
    Command.UNKNOWN: SmsTrigger._not_understood,
}


def _is_live(callback: Callback) -> bool:
    return callback.status is not CallbackStatus.ENDED


def _may_be_stopped(callback: Callback) -> bool:
    """Who said STOP is not rung any more; a conversation that is going on is theirs to end."""
    return _is_live(callback) and callback.status is not CallbackStatus.CONNECTED
