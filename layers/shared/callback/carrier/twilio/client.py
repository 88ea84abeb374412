"""The carrier's API through the twilio SDK. The only module that imports `twilio.rest`.

Twilio's create has no idempotency key, so what became of a create request is classified, and
a request that may have been carried out is never sent again (see `classify`). While the account's
token is being rotated, whichever of its tokens the carrier takes is used (see `_ask`).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

import requests
import urllib3
from aws_lambda_powertools import Logger
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance

from callback import clock
from callback.carrier.credentials import Credentials, CredentialStore
from callback.carrier.instructions import HangUp, Say
from callback.carrier.port import DialResult, Sent
from callback.carrier.twilio import events, twiml
from callback.errors import CarrierUnavailable
from callback.lifecycle import timing, transitions
from callback.lifecycle.models import Callback, Leg, LegName, LegOutcome, LegStatus
from callback.lifecycle.transitions import LegEvent
from callback.numbering import addresses
from callback.settings import DialSettings

logger = Logger(child=True)

_T = TypeVar("_T")

_CONNECT_SECONDS, _READ_SECONDS = 2.0, 8.0
_IDLE_AT_MOST = timedelta(seconds=10)

_WRONG_TOKEN = 401  # the HTTP status of Twilio error 20003

_NOT_COMPLETE = 20009  # Twilio's answer to deleting a call whose record is not complete yet
_NOT_IN_PROGRESS = 21220  # Twilio's answer to ending a call that has ended

_LIVE = ("queued", "ringing", "in-progress")
_PAGE = 1000  # Twilio's largest page

_DELAY = re.compile(r"[0-9]{1,6}")
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")

# What the SDK raises as it reads a 2xx that is not a Call in JSON.
_BROKEN_ANSWER = (ValueError, TypeError, AttributeError)


def classify(error: Exception, retry_after: str | None = None) -> DialResult:
    """What a failed create request means. Pure; anything not known to be harmless is UNKNOWN.

    401 and 429 are never processed (Twilio errors 20003, 20429); any other 4xx is a refusal; a
    5xx, a timeout or a reset after connecting may have created the call (Twilio error 20500).
    `retry_after` is that header of the carrier's answer.
    """
    if isinstance(error, TwilioRestException):
        if error.status == _WRONG_TOKEN:
            return DialResult(Sent.NOT_SENT, carrier_code=error.code)
        if error.status == 429:
            return DialResult(
                Sent.NOT_SENT, carrier_code=error.code, retry_after=_seconds(retry_after)
            )
        if 400 <= error.status < 500:
            return DialResult(Sent.REJECTED, carrier_code=error.code)
        return DialResult(Sent.UNKNOWN, carrier_code=error.code)
    if isinstance(error, requests.ConnectTimeout) or _never_connected(error):
        return DialResult(Sent.NOT_SENT)
    return DialResult(Sent.UNKNOWN)


def _seconds(retry_after: str | None) -> timedelta | None:
    """A date, which HTTP allows too (RFC 9110, 10.2.3), is taken for nothing said."""
    if retry_after is None or not _DELAY.fullmatch(retry_after):
        return None
    return timedelta(seconds=int(retry_after))


def _never_connected(error: Exception) -> bool:
    if not isinstance(error, requests.ConnectionError) or not error.args:
        return False
    reason = getattr(error.args[0], "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


class _BoundedHttpClient(TwilioHttpClient):  # type: ignore[misc]
    """The SDK waits for ever by default, takes one timeout for connecting and reading, keeps the
    headers of an answer to itself, and of a refused list its status too: these are the last's."""

    status: int | None = None
    retry_after: str | None = None
    _used_at = datetime.min.replace(tzinfo=UTC)

    def request(self, method: str, *args: Any, **kwargs: Any) -> Response:
        self.timeout = (_CONNECT_SECONDS, _READ_SECONDS)
        self.status = self.retry_after = None
        if method == "POST" or self._was_idle():
            self.session.close()
        response = super().request(method, *args, **kwargs)
        self.status = response.status_code
        self.retry_after = response.headers.get("Retry-After")
        self._used_at = clock.now()
        return response

    def _was_idle(self) -> bool:
        """Whether a connection kept since the last request may be gone without our knowing.

        Lambda purges idle connections (Lambda Developer Guide, "Best practices"), and a sandbox
        that is frozen between two invocations does not hear the carrier close one. The next
        request is reset then, and a create that was reset may not be sent again: so a POST has
        a connection of its own however short the pause. By the clock on the wall, because the
        monotonic one stands still in a frozen sandbox.
        """
        return abs(clock.now() - self._used_at) > _IDLE_AT_MOST


class _NoSuchCall(CarrierUnavailable):
    """The carrier does not know the call, or no longer."""


@contextmanager
def _asking(call_sid: str | None = None) -> Iterator[None]:
    """What goes wrong with a request that is safe to repeat is CarrierUnavailable."""
    try:
        yield
    except TwilioRestException as error:
        logger.warning("carrier refused a request", call_sid=call_sid, carrier_code=error.code)
        unavailable = _NoSuchCall if error.status == 404 else CarrierUnavailable
        raise unavailable("The carrier refused the request.") from error
    except (TwilioException, requests.RequestException, *_BROKEN_ANSWER) as error:
        logger.warning("carrier could not be asked", call_sid=call_sid, error=type(error).__name__)
        raise CarrierUnavailable("The carrier could not be asked.") from error


class TwilioCarrier:
    """`api_url` empty means Twilio itself; `public_url` is where its webhooks reach us."""

    def __init__(
        self,
        credentials: CredentialStore,
        *,
        api_url: str,
        public_url: str = "",
        sip_domain: str = "",
    ) -> None:
        self._credentials = credentials
        self._api_url = api_url
        self._public_url = public_url.rstrip("/")
        self._sip_domain = sip_domain
        self._http = _BoundedHttpClient()
        self._fetched: Credentials | None = None

    @classmethod
    def of(cls, settings: DialSettings, credentials: CredentialStore) -> Self:
        """A function's own, once per cold start."""
        return cls(
            credentials,
            api_url=settings.carrier_api_url,
            public_url=settings.public_url,
            sip_domain=settings.sip_domain,
        )

    def ready(self) -> bool:
        """Fetch the credentials that `dial` will use: whether they could be had.

        Before a leg is claimed, so that a claim is not spent on fetching them.
        """
        try:
            self._fetched = self._credentials.get()
        except CarrierUnavailable:
            return False
        return True

    def dial(self, callback: Callback, name: LegName) -> DialResult:
        """Ask for the call of a leg that was claimed. Never raises for what the carrier did."""
        leg = callback.leg(name)
        place = f"{callback.callback_id}/{name}/{leg.attempt}"

        def in_time() -> bool:
            return not transitions.claim_expired(leg, clock.now())

        # Whoever was `ready` fetches nothing between the claim and the request.
        if self._fetched is None and not (self.ready() and in_time()):
            return DialResult(Sent.NOT_SENT)

        def create(carrier: Client) -> CallInstance:
            return carrier.calls.create(
                **self._parties(leg),
                url=f"{self._public_url}/carrier/twiml/{place}{twiml.RETRIES}",
                method="POST",
                fallback_url=f"{self._public_url}/carrier/fallback",
                status_callback=f"{self._public_url}/carrier/status/{place}{twiml.RETRIES}",
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                timeout=leg.ring_timeout_seconds,
                time_limit=int(timing.time_limit(callback, name).total_seconds()),
            )

        try:
            call = self._ask(create, self._fetched, in_time)
        except (TwilioException, requests.RequestException, *_BROKEN_ANSWER) as error:
            result = classify(error, self._http.retry_after)
            logger.warning(
                "carrier did not take the call",
                callback_id=callback.callback_id,
                leg=name,
                sent=result.sent,
                carrier_code=result.carrier_code,
            )
            return result
        if not _CALL_SID.fullmatch(call.sid or ""):
            return DialResult(Sent.UNKNOWN)
        return DialResult(Sent.ACCEPTED, call_sid=call.sid)

    def end(self, call_sid: str, sentence: str | None = None) -> LegEvent:
        """End a call, ringing or live; with a sentence, after saying it to who is on the line.

        Answers what the carrier says of the call now. Raises CarrierUnavailable; ending a call
        again is safe.
        """
        change = (
            {"twiml": twiml.render([Say(sentence), HangUp()])}
            if sentence
            else {"status": "completed"}
        )
        with _asking(call_sid):
            try:
                return _event(self._ask(lambda carrier: carrier.calls(call_sid).update(**change)))
            except TwilioRestException as error:
                if error.code != _NOT_IN_PROGRESS and error.status != 404:
                    raise
        return self.fetch(call_sid)

    def fetch(self, call_sid: str) -> LegEvent:
        """What the carrier says of a call now. Raises CarrierUnavailable."""
        try:
            with _asking(call_sid):
                return _event(self._ask(lambda carrier: carrier.calls(call_sid).fetch()))
        except _NoSuchCall:
            return LegEvent(
                LegStatus.ENDED,
                at=clock.now(),
                call_sid=call_sid,
                outcome=LegOutcome.DIAL_OUTCOME_UNKNOWN,
                cause="carrier_has_no_such_call",
            )

    def delete_record(self, call_sid: str) -> bool:
        """Delete what the carrier keeps of a call that has ended: whether it is gone.

        False: the carrier is not done with it, which may take 14 days (Twilio error 20009). Raises
        CarrierUnavailable; deleting again is safe.
        """
        with _asking(call_sid):
            try:
                self._ask(lambda carrier: carrier.calls(call_sid).delete())
            except TwilioRestException as error:
                if error.code == _NOT_COMPLETE:
                    return False
                if error.status != 404:
                    raise
        return True

    def live_calls(self) -> dict[str, LegStatus]:
        """Every call of the account that has not ended, and how far it is; one request per
        thousand.

        Raises CarrierUnavailable.
        """

        def listed(carrier: Client) -> dict[str, LegStatus]:
            return {
                call.sid: events.CALL_STATUS[word][0]
                for word in _LIVE
                for call in carrier.calls.list(status=word, page_size=_PAGE)
            }

        with _asking():
            return self._ask(listed)

    def find_calls(self, leg: Leg, since: datetime) -> list[str]:
        """Calls to this leg's party that were created since then, earliest first.

        Raises CarrierUnavailable.
        """
        with _asking():
            calls = self._ask(lambda carrier: carrier.calls.list(**self._parties(leg), limit=_PAGE))
        made = [(_utc(call.date_created), call.sid) for call in calls if call.date_created]
        # The carrier tells whole seconds.
        return [sid for at, sid in sorted(made) if at >= since - timedelta(seconds=1)]

    def look_alike(self, leg: Leg, other: Leg) -> bool:
        """Calls from one number to one party cannot be told apart in the carrier's list."""
        return self._parties(leg) == self._parties(other)

    def _parties(self, leg: Leg) -> dict[str, str]:
        """Who is called and whose number is shown, as Twilio's parameters."""
        return {
            "to": addresses.dial_target(leg.to, self._sip_domain),
            "from_": addresses.user_part(leg.caller_id),
        }

    def _ask(
        self,
        request: Callable[[Client], _T],
        known: Credentials | None = None,
        in_time: Callable[[], bool] = lambda: True,
    ) -> _T:
        """What the carrier answers to a request, with the first of our tokens that it takes.

        A request that came with a wrong token was not processed (Twilio error 20003), so sending
        it again is safe; while a token is being rotated, what is cached here may be ahead of the
        carrier or behind it. `in_time` says whether it may still be sent again. Raises
        CarrierUnavailable where credentials cannot be had, else what the SDK does.
        """
        refused: Any = None
        for account_sid, token in self._logins(known or self._credentials.get()):
            if refused and not in_time():
                raise refused
            client = Client(account_sid, token, http_client=self._http)
            if self._api_url:
                client.api.base_url = self._api_url
            try:
                return request(client)
            except TwilioException as error:
                if self._http.status != _WRONG_TOKEN:
                    raise
                refused = error
        logger.error("the carrier takes none of our tokens")
        raise refused

    def _logins(self, known: Credentials) -> Iterator[tuple[str, str]]:
        """(account_sid, token) to try, one after the other; those after the first are newest."""
        first = (known.account_sid, known.auth_token)
        yield first
        with suppress(CarrierUnavailable):
            known = self._credentials.refetch() or known
        for token in known.accepted_tokens:
            if (known.account_sid, token) != first:
                yield known.account_sid, token


def _event(call: CallInstance) -> LegEvent:
    """A Call resource as an event. A word that is not in the table is kept, never guessed."""
    status, outcome = events.CALL_STATUS.get(str(call.status), (None, None))
    at = call.end_time if status is LegStatus.ENDED else call.start_time
    return LegEvent(
        status,
        at=_utc(at) if at else clock.now(),
        call_sid=call.sid,
        outcome=outcome,
        seconds=int(call.duration) if call.duration else None,
        word=None if status else str(call.status),
    )


def _utc(at: datetime) -> datetime:
    """The SDK's dates are UTC, and older releases of it do not say so."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
