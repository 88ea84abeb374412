"""HTTP from the carrier to the application: signed, timed, and retried as the URL's fragment says.

Sources: Twilio docs, usage/webhooks (security, connection-overrides) and voice/twiml.
"""

import asyncio
import contextlib
import ipaddress
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote_plus, urljoin, urlsplit, urlunsplit

import aiohttp
import yarl

from tests.local.clock import WORK_HEADER, Work

from .signature import sign, signed_url

if TYPE_CHECKING:
    from .exchange import Exchange

MAX_BODY = 64 * 1024
MAX_REDIRECTS = 10
FORM = "application/x-www-form-urlencoded; charset=UTF-8"

Form = dict[str, str]


def encoded(form: Form) -> str:
    """Encode the form as a body or query. Names are plain words, and most places are empty."""
    return "&".join(
        f"{name}={quote_plus(value)}" if value else f"{name}=" for name, value in form.items()
    )


@dataclass(frozen=True)
class Overrides:
    """Connection settings from a URL fragment. Times are in seconds."""

    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})

    @classmethod
    def parse(cls, url: str, ceiling: float) -> "Overrides":
        """Parse `#ct=…&rt=…&tt=…&rc=…&rp=…`. Values out of range are brought into it."""
        fields = dict(parse_qsl(urlsplit(url).fragment))

        def seconds(key: str, default: int, most: int) -> float:
            text = fields.get(key, "")
            value = int(text) if text.isascii() and text.isdigit() else default
            return min(max(value, 100), most) / 1000

        retries = fields.get("rc", "")
        policies = fields.get("rp", "").lower().replace(" ", "").split(",")
        known = frozenset(policies) & {"4xx", "5xx", "ct", "rt", "all"}
        return cls(
            connect=seconds("ct", 5_000, 10_000),
            read=min(seconds("rt", 15_000, 15_000), ceiling),
            total=min(seconds("tt", 15_000, 15_000), ceiling),
            retries=min(int(retries), 5) if retries.isascii() and retries.isdigit() else 1,
            retry_on=known or frozenset({"ct"}),
        )

    def retries_after(self, cause: str) -> bool:
        return "all" in self.retry_on or cause in self.retry_on


@dataclass
class Answer:
    """The result of one webhook. `cause` is "" on 2xx/3xx, else ct, rt, 4xx, 5xx or refused."""

    url: str
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    cause: str = ""
    error: str = ""
    code: int = 0  # Twilio's debugger code for the failure


@dataclass
class Delivery:
    """One line of the webhook log. `latency_ms` covers all attempts."""

    number: int
    kind: str
    url: str
    method: str
    params: Form
    subject: str
    at: str
    token: str
    status: int = 0
    latency_ms: int = 0
    attempts: int = 0
    fault: str = ""
    error: str = ""
    done: bool = False

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass
class Jar:
    """The cookies of one call, kept between its webhooks for each host."""

    by_host: dict[str, dict[str, str]] = field(default_factory=dict)

    def header(self, host: str) -> str:
        return "; ".join(f"{k}={v}" for k, v in self.by_host.get(host, {}).items())

    def keep(self, host: str, headers: list[str]) -> None:
        for text in headers:
            for name, morsel in SimpleCookie(text).items():
                self.by_host.setdefault(host, {})[name] = morsel.value


class Webhooks:
    """Sends webhooks and keeps a bounded log of them."""

    def __init__(self, exchange: "Exchange"):
        self.exchange = exchange
        self.log: deque[Delivery] = deque(maxlen=exchange.settings.keep_deliveries)
        self.sent = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def allowed(self, url: str) -> bool:
        """Whether the URL is a loopback address, or its host is allowed by name."""
        host = (urlsplit(url).hostname or "").lower()
        if host == "localhost" or host in self.exchange.settings.allow_hosts:
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def send(
        self,
        kind: str,
        url: str,
        method: str,
        form: Form,
        *,
        subject: str,
        jar: Jar | None = None,
        token: str | None = None,
    ) -> Answer:
        """Deliver one webhook with the retries that its URL requests. Never raises.

        `kind` is twiml, action, wait, hold, announce, status, conference, recording, amd, sms,
        media or fallback; `subject` is the call's or conference's SID.
        """
        event = form.get("StatusCallbackEvent") or form.get("CallStatus") or ""
        fault = self.exchange.faults.webhook(kind, url, form.get("To", ""), event)
        self.sent += 1
        delivery = Delivery(
            number=self.sent,
            kind=kind,
            url=url,
            method=method,
            params=form,
            subject=subject,
            at=self.exchange.clock.now().isoformat(timespec="milliseconds"),
            token=token or str(uuid.UUID(int=self.exchange.random.getrandbits(128), version=4)),
            fault=fault.fault if fault else "",
        )
        self.log.append(delivery)
        if fault and fault.fault == "drop":
            answer = Answer(url, cause="ct", error="dropped by a fault rule", code=11205)
        else:
            if fault and fault.fault == "delay":
                await self.exchange.clock.sleep(fault.seconds)
            with self.exchange.clock.track_work(f"a {kind} webhook to {url}") as work:
                answer = await self._attempts(delivery, jar or Jar(), work)
                if fault and fault.fault == "duplicate":
                    answer = await self._attempts(delivery, jar or Jar(), work)
        delivery.status, delivery.error = answer.status, answer.error
        delivery.done = True
        if answer.cause:
            self.exchange.debugger.failed_webhook(delivery, answer)
        self.exchange.tell(
            "webhook", subject, webhook=kind, url=url, status=answer.status, event=event
        )
        return answer

    async def _attempts(self, delivery: Delivery, jar: Jar, work: Work) -> Answer:
        overrides = Overrides.parse(delivery.url, self.exchange.settings.webhook_ceiling)
        began, really = self.exchange.clock.seconds(), time.monotonic()
        answer = Answer(delivery.url)
        for attempt in range(overrides.retries + 1):
            left = overrides.total - self._spent(began, really, work)
            if attempt and left <= 0:
                break
            delivery.attempts += 1
            answer = await self._attempt(delivery, overrides, max(left, 0.001), jar, work)
            if not answer.cause or not overrides.retries_after(answer.cause):
                break
        delivery.latency_ms = round((time.monotonic() - really) * 1000)
        return answer

    def _spent(self, began: float, really: float, work: Work) -> float:
        """Seconds since the start: virtual ones for an application that uses this clock. Any other
        application answers in real time, at whatever speed the clock runs."""
        if work.is_shared:
            return self.exchange.clock.seconds() - began
        return time.monotonic() - really

    @contextlib.asynccontextmanager
    async def _timeout(self, seconds: float, work: Work) -> AsyncIterator[None]:
        """Like asyncio.timeout, by the rule of `_spent`. Work that timed out is reclaimed."""
        loop = asyncio.get_running_loop()

        def expire(*, is_virtual: bool) -> None:
            if work.is_shared is is_virtual:
                work.reclaim()
                running.reschedule(loop.time())

        async with asyncio.timeout(None) as running:
            timer = self.exchange.clock.call_later(seconds, lambda: expire(is_virtual=True))
            handle = loop.call_later(seconds, lambda: expire(is_virtual=False))
            try:
                yield
            finally:
                timer.cancel()
                handle.cancel()

    async def _attempt(
        self, delivery: Delivery, overrides: Overrides, left: float, jar: Jar, work: Work
    ) -> Answer:
        url = urlunsplit((*urlsplit(delivery.url)[:4], ""))
        within = min(left, overrides.read)
        try:
            async with self._timeout(within, work):
                return await self._follow(url, delivery, overrides, jar, work)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return Answer(url, cause="ct", error=str(error) or "connect timeout", code=11205)
        except TimeoutError:
            return Answer(url, cause="rt", error="no answer in time", code=11205)
        except aiohttp.ClientError as error:
            return Answer(url, cause="rt", error=f"connection broken: {error}", code=11206)
        except ValueError as error:  # a URL that cannot be requested at all
            return Answer(url, cause="refused", error=str(error), code=11100)

    async def _follow(
        self, url: str, delivery: Delivery, overrides: Overrides, jar: Jar, work: Work
    ) -> Answer:
        """One request, and at most ten redirects after it."""
        method, form = delivery.method, delivery.params
        for _ in range(MAX_REDIRECTS + 1):
            if not self.allowed(url):
                return Answer(
                    url,
                    cause="refused",
                    error="not a loopback address; allow its host to reach it",
                    code=11210,
                )
            answer, location = await self._request(
                url, method, form, delivery.token, overrides, jar, work
            )
            if location is None:
                return answer
            # A redirect is followed by a GET that has lost the form.
            url, method, form = urljoin(url, location), "GET", {}
        return Answer(url, cause="4xx", error="too many redirects", code=11215)

    async def _request(
        self,
        url: str,
        method: str,
        form: Form,
        token: str,
        overrides: Overrides,
        jar: Jar,
        work: Work,
    ) -> tuple[Answer, str | None]:
        assert self._session is not None, "open() comes first"
        data: bytes | None = None
        headers = {
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            "I-Twilio-Idempotency-Token": token,
            "X-Home-Region": "us1",
            WORK_HEADER: str(work.number),
        }
        if method == "GET":
            if form:
                url += ("&" if urlsplit(url).query else "?") + encoded(form)
            signature = sign(self.exchange.auth_token, signed_url(url))
        else:
            data = encoded(form).encode()
            headers["Content-Type"] = FORM
            signature = sign(self.exchange.auth_token, signed_url(url), form.items())
        headers["X-Twilio-Signature"] = signature
        parts = urlsplit(url)
        auth = None
        if parts.username is not None:
            auth = aiohttp.BasicAuth(parts.username, parts.password or "")
            netloc = parts.netloc.rpartition("@")[2]
            url = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
        cookie = jar.header(parts.netloc)
        if cookie:
            headers["Cookie"] = cookie
        async with self._session.request(
            method,
            yarl.URL(url, encoded=True),
            data=data,
            headers=headers,
            auth=auth,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=overrides.connect),
        ) as response:
            if "Set-Cookie" in response.headers:
                jar.keep(parts.netloc, response.headers.getall("Set-Cookie"))
            if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                return Answer(url, response.status), response.headers["Location"]
            body = b""
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MAX_BODY:
                    break
            answer = Answer(
                url,
                response.status,
                response.headers.get("Content-Type", ""),
                body,
            )
            if response.status >= 400:
                answer.cause = "4xx" if response.status < 500 else "5xx"
                answer.error = f"answered {response.status}"
                answer.code = 11200
            return answer, None


class Outbox:
    """Progress webhooks of one call or conference, sent one after another."""

    # The longest wait of a reordered webhook for the next one, in virtual seconds.
    PATIENCE = 30.0

    def __init__(self, exchange: "Exchange", subject: str):
        self.exchange = exchange
        self.subject = subject
        self._waiting: deque[tuple[str, str, str, Form, Jar | None]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._arrived: asyncio.Event | None = None

    def push(self, kind: str, url: str, method: str, form: Form, jar: Jar | None = None) -> None:
        self._waiting.append((kind, url, method, form, jar))
        if self._arrived:
            self._arrived.set()
        if self._worker is None:
            self._worker = self.exchange.spawn(self._work())

    async def idle(self) -> None:
        """Wait until everything pushed so far has been sent."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._one()
        finally:
            self._worker = None

    async def _one(self) -> None:
        kind, url, method, form, jar = self._waiting.popleft()
        event = form.get("StatusCallbackEvent") or form.get("CallStatus") or ""
        if self.exchange.faults.reorders(kind, url, form.get("To", ""), event):
            if not self._waiting:
                await self._arrival()
            if self._waiting:
                await self._one()
        await self.exchange.webhooks.send(kind, url, method, form, subject=self.subject, jar=jar)

    async def _arrival(self) -> None:
        self._arrived = asyncio.Event()
        timer = self.exchange.clock.call_later(self.PATIENCE, self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            timer.cancel()
            self._arrived = None
