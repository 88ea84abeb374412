"""Twilio's API through its SDK. The only module that imports `twilio.rest`.

Twilio's create request has no idempotency key. Its result is therefore classified, and a request
that may have created a call is never sent again (see `classify`). While the account's token is
being rotated, requests use whichever token Twilio accepts (see `_send`).
"""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import requests
import urllib3
from aws_lambda_powertools import Logger
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
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
from callback.settings import CarrierSettings, DialSettings

logger = Logger(child=True)

_T = TypeVar("_T")

_CONNECT_SECONDS, _READ_SECONDS = 2.0, 8.0
_IDLE_AT_MOST = timedelta(seconds=10)

_WRONG_TOKEN = 401  # the HTTP status of Twilio error 20003

_NOT_COMPLETE = 20009  # Twilio's error for deleting a call whose record is not complete yet
_NOT_IN_PROGRESS = 21220  # Twilio's error for ending a call that has ended

_LIVE = ("queued", "ringing", "in-progress")
_PAGE = 1000  # Twilio's largest page

_DELAY = re.compile(r"[0-9]{1,6}")
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")

# The SDK's errors for a 2xx response that is not a Call in JSON.
_BROKEN_RESPONSE = (ValueError, TypeError, AttributeError)


def classify(error: Exception, retry_after: str | None = None) -> DialResult:
    """The result of a failed create request. Pure. Anything not known to be harmless is UNKNOWN.

    401 and 429 are never processed (Twilio errors 20003, 20429). Any other 4xx is a rejection. A
    5xx, a timeout or a reset after connecting may have created the call (Twilio error 20500).
    `retry_after` is the response's Retry-After header.
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
    """The header's seconds. None for a date, which HTTP allows too (RFC 9110, 10.2.3)."""
    if retry_after is None or not _DELAY.fullmatch(retry_after):
        return None
    return timedelta(seconds=int(retry_after))


def _never_connected(error: Exception) -> bool:
    if not isinstance(error, requests.ConnectionError) or not error.args:
        return False
    reason = getattr(error.args[0], "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


@cache
def _tls_context(authorities: str) -> ssl.SSLContext:
    """What urllib3 makes for each connection, made once: reading the authorities (a file or a
    folder) costs ten times what the rest of a create request does."""
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if Path(authorities).is_dir():
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    return context


class _OneTlsContext(HTTPAdapter):
    """Gives all verified connections one TLS context.

    requests names the authorities to each connection, and urllib3 then reads them again, even into
    a context that has them. Neither of these methods therefore names them.
    """

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if verify:
            authorities = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
            tls = {k: v for k, v in tls.items() if k not in {"ca_certs", "ca_cert_dir"}}
            tls["ssl_context"] = _tls_context(authorities)
        return host, tls

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        super().cert_verify(conn, url, verify, cert)
        if conn.proxy is None:  # a proxy's own certificate is verified by what is named here
            conn.ca_certs = conn.ca_cert_dir = None


class _BoundedHttpClient(TwilioHttpClient):  # type: ignore[misc]
    """Adds what the SDK lacks: separate connect and read timeouts, and access to the last
    response's status and Retry-After. The SDK waits forever by default. It hides all headers, and
    the status of a refused list."""

    status: int | None = None
    retry_after: str | None = None
    _used_at = datetime.min.replace(tzinfo=UTC)

    def __init__(self) -> None:
        super().__init__()
        self.session.mount("https://", _OneTlsContext())

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
        """Whether the connection of the last request may have been closed without our notice.

        Lambda purges idle connections (Lambda Developer Guide, "Best practices"). A sandbox that is
        frozen between two invocations does not notice that the carrier closes one. The next request
        is then reset, and a create request that was reset may not be sent again. A POST therefore
        always uses a new connection. The wall clock measures the pause, because the monotonic clock
        stands still in a frozen sandbox.
        """
        return abs(clock.now() - self._used_at) > _IDLE_AT_MOST


class _NoSuchCall(CarrierUnavailable):
    """The carrier does not know the call, or has forgotten it."""


@contextmanager
def _translate_errors(call_sid: str | None = None) -> Iterator[None]:
    """Raise CarrierUnavailable for any failure of a request that is safe to repeat."""
    try:
        yield
    except TwilioRestException as error:
        logger.warning("carrier refused a request", call_sid=call_sid, carrier_code=error.code)
        unavailable = _NoSuchCall if error.status == 404 else CarrierUnavailable
        raise unavailable("The carrier refused the request.") from error
    except (TwilioException, requests.RequestException, *_BROKEN_RESPONSE) as error:
        logger.warning(
            "request to the carrier failed", call_sid=call_sid, error=type(error).__name__
        )
        raise CarrierUnavailable("The request to the carrier failed.") from error


class TwilioCarrier:
    """An empty `api_url` means Twilio itself. Twilio sends its webhooks to `public_url`."""

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
        self._ready_credentials: Credentials | None = None

    @classmethod
    def from_settings(cls, settings: CarrierSettings, credentials: CredentialStore) -> Self:
        """The carrier of a function. Only one with DialSettings dials."""
        if not isinstance(settings, DialSettings):
            return cls(credentials, api_url=settings.carrier_api_url)
        return cls(
            credentials,
            api_url=settings.carrier_api_url,
            public_url=settings.public_url,
            sip_domain=settings.sip_domain,
        )

    def ready(self) -> bool:
        """Fetch the credentials that `dial` will use. Returns whether that succeeded.

        Call it before claiming a leg, so that no time of the claim goes into fetching them.
        """
        try:
            self._ready_credentials = self._credentials.get()
        except CarrierUnavailable:
            return False
        return True

    def dial(self, callback: Callback, name: LegName) -> DialResult:
        """Request the call of a claimed leg. Raises no error for a response of the carrier."""
        leg = callback.leg(name)
        dialed_leg = f"{callback.callback_id}/{name}/{leg.attempt}"

        def in_time() -> bool:
            return not transitions.claim_expired(leg, clock.now())

        # After `ready`, nothing is fetched between the claim and the request.
        if self._ready_credentials is None and not (self.ready() and in_time()):
            return DialResult(Sent.NOT_SENT)

        def create(carrier: Client) -> CallInstance:
            return carrier.calls.create(
                **self._parties(leg),
                url=f"{self._public_url}/carrier/twiml/{dialed_leg}{twiml.RETRIES}",
                method="POST",
                fallback_url=f"{self._public_url}/carrier/fallback",
                status_callback=f"{self._public_url}/carrier/status/{dialed_leg}{twiml.RETRIES}",
                # Each event is paid. An answered call requests its instructions: that reports
                # the answer, and `answered` would only repeat it.
                status_callback_event=["initiated", "ringing", "completed"],
                timeout=leg.ring_timeout_seconds,
                time_limit=int(timing.time_limit(callback, name).total_seconds()),
            )

        try:
            call = self._send(create, self._ready_credentials, in_time)
        except (TwilioException, requests.RequestException, *_BROKEN_RESPONSE) as error:
            result = classify(error, self._http.retry_after)
            logger.warning(
                "carrier did not accept the call",
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
        """End a call that rings or is live. The party hears the `sentence` first.

        Returns the carrier's state of the call now. Raises CarrierUnavailable. Safe to repeat.
        """
        change = (
            {"twiml": twiml.render([Say(sentence), HangUp()])}
            if sentence
            else {"status": "completed"}
        )
        with _translate_errors(call_sid):
            try:
                return _event(self._send(lambda carrier: carrier.calls(call_sid).update(**change)))
            except TwilioRestException as error:
                if error.code != _NOT_IN_PROGRESS and error.status != 404:
                    raise
        return self.fetch(call_sid)

    def fetch(self, call_sid: str) -> LegEvent:
        """The carrier's state of a call now. Raises CarrierUnavailable."""
        try:
            with _translate_errors(call_sid):
                return _event(self._send(lambda carrier: carrier.calls(call_sid).fetch()))
        except _NoSuchCall:
            return LegEvent(
                LegStatus.ENDED,
                at=clock.now(),
                call_sid=call_sid,
                outcome=LegOutcome.DIAL_OUTCOME_UNKNOWN,
                cause="carrier_has_no_such_call",
            )

    def delete_record(self, call_sid: str) -> bool:
        """Delete the carrier's record of a call that has ended. Returns whether it is deleted.

        False: the carrier has not completed the record, which may take 14 days (Twilio error
        20009). Raises CarrierUnavailable. Safe to repeat.
        """
        with _translate_errors(call_sid):
            try:
                self._send(lambda carrier: carrier.calls(call_sid).delete())
            except TwilioRestException as error:
                if error.code == _NOT_COMPLETE:
                    return False
                if error.status != 404:
                    raise
        return True

    def live_calls(self) -> dict[str, LegStatus]:
        """The status of every call of the account that has not ended. Takes one request per status
        and thousand calls.

        Raises CarrierUnavailable.
        """

        def list_live(carrier: Client) -> dict[str, LegStatus]:
            return {
                call.sid: events.CALL_STATUS[word][0]
                for word in _LIVE
                for call in carrier.calls.list(status=word, page_size=_PAGE)
            }

        with _translate_errors():
            return self._send(list_live)

    def find_calls(self, leg: Leg, since: datetime) -> list[str]:
        """Calls to this leg's party that were created since then, earliest first.

        Raises CarrierUnavailable.
        """
        with _translate_errors():
            calls = self._send(
                lambda carrier: carrier.calls.list(**self._parties(leg), limit=_PAGE)
            )
        by_time = sorted((_utc(call.date_created), call.sid) for call in calls if call.date_created)
        # The carrier reports whole seconds.
        return [sid for at, sid in by_time if at >= since - timedelta(seconds=1)]

    def look_alike(self, leg: Leg, other: Leg) -> bool:
        """The carrier's list cannot distinguish calls from one number to one party."""
        return self._parties(leg) == self._parties(other)

    def _parties(self, leg: Leg) -> dict[str, str]:
        """The called party and the caller ID, as Twilio's parameters."""
        return {
            "to": addresses.dial_target(leg.to, self._sip_domain),
            "from_": addresses.user_part(leg.caller_id),
        }

    def _send(
        self,
        request: Callable[[Client], _T],
        credentials: Credentials | None = None,
        in_time: Callable[[], bool] = lambda: True,
    ) -> _T:
        """Send a request with the first of our tokens that the carrier accepts. Returns its result.

        A request with a wrong token is not processed (Twilio error 20003), so sending it again is
        safe. While a token is being rotated, our cached token may be newer or older than the
        carrier's. `in_time` tells whether the request may still be sent again. Raises
        CarrierUnavailable if no credentials can be read, else the SDK's errors.
        """
        rejection: Any = None
        for account_sid, token in self._logins(credentials or self._credentials.get()):
            if rejection and not in_time():
                raise rejection
            client = Client(account_sid, token, http_client=self._http)
            if self._api_url:
                client.api.base_url = self._api_url
            try:
                return request(client)
            except TwilioException as error:
                if self._http.status != _WRONG_TOKEN:
                    raise
                rejection = error
        logger.error("the carrier accepts none of our tokens")
        raise rejection

    def _logins(self, credentials: Credentials) -> Iterator[tuple[str, str]]:
        """Each (account_sid, token) to try, in order. Refetches the credentials after the first."""
        first = (credentials.account_sid, credentials.auth_token)
        yield first
        with suppress(CarrierUnavailable):
            credentials = self._credentials.refetch() or credentials
        for token in credentials.accepted_tokens:
            if (credentials.account_sid, token) != first:
                yield credentials.account_sid, token


def _event(call: CallInstance) -> LegEvent:
    """A Call resource as an event. A status that is not in the table is kept as its word."""
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
    """The SDK's dates are UTC. Older releases return them without a time zone."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
