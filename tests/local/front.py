"""The HTTP API of the template on 127.0.0.1: invokes the function of each request's route.

Events and responses have payload format 2.0 (API Gateway Developer Guide, "Create AWS Lambda proxy
integrations for HTTP APIs"). This module refuses what the gateway refuses: an unknown path, a body
over the limit, a handler that fails or returns an invalid response.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import json
import re
import socket
import sys
import threading
import uuid
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from multidict import CIMultiDict

from tests.local import loopback
from tests.local.carrier import noise
from tests.local.clock import WORK_HEADER, Clock, Work, run_as
from tests.local.connections import close_server
from tests.local.functions import Functions, Invocation
from tests.local.template import ACCOUNT, API_ID, REGION, Authorizer, Route

# Quotas of HTTP APIs: the payload of a request, and of Lambda's synchronous invocation.
_LARGEST_BODY = 10 * 1024 * 1024
# The gateway passes on exactly these as text. It passes on the rest as base64, including a form
# and a body without a type.
_TEXT_TYPES = ("application/json", "application/javascript", "application/xml")
_THREADS = 256
_DOMAIN = f"{API_ID}.execute-api.us-east-1.amazonaws.com"
# Seconds of real time.
_CLOSING = 5.0
# The caller of a route with IAM authorization. The local stack accepts any caller.
_IAM_CALLER = {
    "iam": {
        "accessKey": "local",
        "accountId": ACCOUNT,
        "callerId": "AIDALOCAL",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:iam::{ACCOUNT}:user/local",
        "userId": "AIDALOCAL",
    }
}


class NonsenseError(Exception):
    """The gateway does not understand the function's response."""


class Refused(Exception):
    """The gateway refuses the request. `trouble` describes an error behind the gateway, if any."""

    def __init__(self, status: int, message: str, trouble: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.trouble = trouble


class Routes:
    """Finds the route of a request: the most literal path wins, then the method over ANY."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        ordered = sorted(routes, key=lambda route: (_literalness(route.path), route.method))
        ordered.sort(key=lambda route: route.method == "ANY")
        self._routes = [(_pattern(route.path), route) for route in ordered]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its decoded path parameters, or None without a matching route."""
        for pattern, route in self._routes:
            matched = pattern.fullmatch(path)
            if matched and route.method in (method, "ANY"):
                values = {name: unquote(text) for name, text in matched.groupdict().items()}
                return route, values
        return None


def _literalness(path: str) -> tuple[int, ...]:
    return tuple(
        2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in path.split("/")
    )


def _pattern(path: str) -> re.Pattern[str]:
    parts = []
    for part in path.split("/"):
        if part.endswith("+}"):
            parts.append(f"(?P<{part[1:-2]}>.+)")
        elif part.startswith("{"):
            parts.append(f"(?P<{part[1:-1]}>[^/]+)")
        else:
            parts.append(re.escape(part))
    return re.compile("/".join(parts))


def event_of(
    route: Route,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes,
    source_ip: str,
    path_parameters: dict[str, str],
    now: datetime,
) -> dict[str, Any]:
    """The event of one request. `target` is the path and query as sent."""
    raw_path, _, query = target.partition("?")
    path = unquote(raw_path)
    joined = _joined(headers)
    cookies = joined.pop("cookie", None)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            **joined,
            "x-amzn-trace-id": f"Root=1-{int(now.timestamp()):08x}-{uuid.uuid4().hex[:24]}",
            "x-forwarded-for": source_ip,
            "x-forwarded-port": joined.get("host", "").rpartition(":")[2] or "80",
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": joined.get("host", _DOMAIN),
            "domainPrefix": API_ID,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": joined.get("user-agent", ""),
            },
            "requestId": base64.b64encode(uuid.uuid4().bytes[:11]).decode(),
            "routeKey": route.key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if route.authorization == "AWS_IAM":
        event["requestContext"]["authorizer"] = _IAM_CALLER
    if cookies is not None:
        event["cookies"] = [cookie.strip() for cookie in cookies.split(";")]
    if query:
        event["queryStringParameters"] = _joined(parse_qsl(query, keep_blank_values=True), str)
    if path_parameters:
        event["pathParameters"] = path_parameters
    if body:
        if _is_text(joined.get("content-type", "")):
            # An event is JSON, so its strings cannot hold invalid UTF-8. AWS does not document how
            # an HTTP API treats such bytes; replacing them is the mildest option.
            event["body"] = body.decode("utf-8", "replace")
        else:
            event["body"] = base64.b64encode(body).decode()
            event["isBase64Encoded"] = True
    return event


def authorizer_event_of(event: dict[str, Any], identity: list[str]) -> dict[str, Any]:
    """The event of a Lambda authorizer: the request of `event` without its body."""
    request = {key: value for key, value in event.items() if key not in ("body", "isBase64Encoded")}
    method, path = event["requestContext"]["http"]["method"], event["rawPath"]
    return {
        **request,
        "type": "REQUEST",
        "routeArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API_ID}/$default/{method}{path}",
        "identitySource": identity,
    }


def identity_of(authorizer: Authorizer, event: dict[str, Any]) -> list[str] | None:
    """The values of the identity sources, or None if one is missing or empty."""
    values = []
    for source in authorizer.identity_sources:
        if source == "$context.routeKey":
            values.append(event["routeKey"])
        else:
            name = source.removeprefix("$request.header.").lower()
            values.append(event["headers"].get(name, ""))
    return values if all(values) else None


def _joined(pairs: list[tuple[str, str]], key: Any = str.lower) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, value in pairs:
        name = key(raw_name)
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _is_text(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


def answer_of(payload: bytes) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of a function's response.

    Raises NonsenseError where the gateway would answer 500 itself.
    """
    answer = json.loads(payload)
    headers: CIMultiDict[str] = CIMultiDict()
    if not isinstance(answer, dict) or "statusCode" not in answer:
        headers["content-type"] = "application/json"
        return 200, headers, answer.encode() if isinstance(answer, str) else payload
    try:
        status = int(answer["statusCode"])
    except (TypeError, ValueError):
        status = 0
    if not 100 <= status <= 599:
        raise NonsenseError(f"statusCode is {answer['statusCode']!r}")
    for name, value in (answer.get("headers") or {}).items():
        if not isinstance(value, str | int | float | bool):
            raise NonsenseError(f"header {name} is {value!r}")
        # The server counts the body itself.
        if name.lower() == "content-length":
            continue
        headers[name] = str(value).lower() if isinstance(value, bool) else str(value)
    for cookie in answer.get("cookies") or []:
        headers.add("set-cookie", cookie)
    headers.setdefault("content-type", "text/plain;charset=UTF-8")
    body = answer.get("body") or ""
    if not isinstance(body, str):
        raise NonsenseError(f"body is a {type(body).__name__}, not a string")
    if answer.get("isBase64Encoded"):
        return status, headers, base64.b64decode(body)
    return status, headers, body.encode()


def bound(host: str, port: int) -> socket.socket:
    """A listening socket on a loopback address. Port 0 takes a free port.

    Raises ValueError for any other host, because this server does not authenticate callers, and
    OSError if the port is taken.
    """
    if not loopback.is_loopback(host):
        raise ValueError(f"the local stack listens on loopback only, not on {host}")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from error
    return listening


class Front:
    """Serves `routes` on the socket `listening`, each request on a thread of its own.

    `clock` times the cache of authorizer responses. A request is work. While a client that does
    not know the clock waits, time may pass as soon as its function pauses.
    """

    def __init__(
        self,
        listening: socket.socket,
        routes: tuple[Route, ...],
        functions: Functions,
        clock: Clock,
    ) -> None:
        self._listening = listening
        self._routes = Routes(routes)
        self._functions = functions
        self._clock = clock
        self._now = clock.now
        # Cached authorizer responses with their expiry. Only the loop's thread uses them.
        self._authorizations: dict[Any, tuple[datetime, dict[str, Any]]] = {}
        self._loop = asyncio.new_event_loop()
        self._workers = concurrent.futures.ThreadPoolExecutor(_THREADS, "front")
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._stalled: asyncio.Event | None = None

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Stop within a few seconds, in which requests in progress may finish."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._clock.on_stall.remove(self._note_stall)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(self._cancel_requests())
        finally:
            self._loop.close()

    async def _cancel_requests(self) -> None:
        """Cancel the requests whose functions still run after the closing time."""
        requests = asyncio.all_tasks() - {asyncio.current_task()}
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    def _note_stall(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fail_requests)

    def _fail_requests(self) -> None:
        """Fail the requests in progress. Later ones wait for a new event."""
        assert self._stalled is not None
        self._stalled.set()
        self._stalled = asyncio.Event()

    async def _serve(self) -> None:
        self._stalled = asyncio.Event()
        self._clock.on_stall.append(self._note_stall)
        # A body is passed on as received, even if compressed.
        server = web.Server(
            self._answer, access_log=None, auto_decompress=False, logger=noise.logger
        )
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSING)
        await runner.setup()
        await web.SockSite(runner, self._listening).start()
        self._ready.set()
        await self._stop.wait()
        await close_server(runner, self._listening)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        header = request.headers.get(WORK_HEADER)
        sent = self._clock.take_over(header)
        waiting: contextlib.AbstractContextManager[Any]
        if sent:  # the sender waits for this response; if it gives up, it resumes its own work
            waiting = sent.suspension()
        else:
            waiting = contextlib.nullcontext() if header else self._clock.let_time_pass()
        what = f"a request: {request.method} {request.raw_path.partition('?')[0]}"
        with self._clock.track_work(what) as own, waiting:
            return await self._respond(request, own)

    async def _respond(self, request: web.BaseRequest, work: Work) -> web.StreamResponse:
        request_id = base64.b64encode(uuid.uuid4().bytes[:11]).decode()
        match = self._routes.find(request.method, request.raw_path.partition("?")[0])
        if match is None:
            return _refusal(404, "Not Found", request_id)
        body = await _read(request)
        if body is None:
            return _refusal(413, "Request Entity Too Large", request_id)
        route, parameters = match
        event = event_of(
            route,
            request.method,
            request.raw_path,
            [(name, text) for name, text in request.headers.items() if name != WORK_HEADER],
            body,
            request.remote or "127.0.0.1",
            parameters,
            self._now(),
        )
        try:
            await self._authorize(route, event, work)
        except Refused as refused:
            if refused.trouble:
                print(f"{route.key} failed:\n{refused.trouble}", end="", file=sys.stderr)
            return _refusal(refused.status, refused.message, request_id)
        invocation = await self._invoke(route.function, event, work)
        trouble = invocation.trace
        if invocation.error is None:
            try:
                status, headers, content = answer_of(invocation.payload)
            except NonsenseError as nonsense:
                trouble = f"{nonsense}\n"
            else:
                headers["apigw-requestid"] = request_id
                return web.Response(status=status, headers=headers, body=content)
        print(f"{route.key} failed in {route.function}:\n{trouble}", end="", file=sys.stderr)
        return _refusal(500, "Internal Server Error", request_id)

    async def _invoke(self, function: str, event: dict[str, Any], work: Work) -> Invocation:
        payload = json.dumps(event).encode()

        def invoke() -> Invocation:
            with run_as(work):
                return self._functions.invoke(function, payload)

        assert self._stalled is not None
        stalled = asyncio.ensure_future(self._stalled.wait())
        running = self._loop.run_in_executor(self._workers, invoke)
        racing: set[asyncio.Future[Any]] = {running, stalled}
        try:
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stalled.cancel()
        if not running.done():
            return Invocation(b"", "Stalled", "the clock has stalled: see above\n")
        return await running

    async def _authorize(self, route: Route, event: dict[str, Any], work: Work) -> None:
        """Put the authorizer's context into the event, or raise Refused with the gateway's message
        (API Gateway Developer Guide, "Control access to HTTP APIs with Lambda authorizers").
        """
        authorizer = route.authorizer
        if authorizer is None:
            return
        identity = identity_of(authorizer, event)
        if identity is None:
            raise Refused(401, "Unauthorized")
        answer = await self._authorizer_response(authorizer, event, identity, work)
        if not answer["isAuthorized"]:
            raise Refused(403, "Forbidden")
        event["requestContext"]["authorizer"] = {"lambda": answer.get("context", {})}

    async def _authorizer_response(
        self, authorizer: Authorizer, event: dict[str, Any], identity: list[str], work: Work
    ) -> dict[str, Any]:
        """The authorizer's response, cached or new. Refusals are cached as well."""
        cache_key = (authorizer, *identity)
        until, answer = self._authorizations.get(cache_key, (self._now(), {}))
        if answer and self._now() < until:
            return answer
        invoked_at = self._now()
        authorizer_event = authorizer_event_of(event, identity)
        invocation = await self._invoke(authorizer.function, authorizer_event, work)
        if invocation.error is not None:
            raise Refused(500, "Internal Server Error", invocation.trace)
        answer = json.loads(invocation.payload)
        if not isinstance(answer, dict) or not isinstance(answer.get("isAuthorized"), bool):
            raise Refused(500, "Internal Server Error", f"the authorizer answered {answer!r}\n")
        self._authorizations[cache_key] = (invoked_at + timedelta(seconds=authorizer.ttl), answer)
        return answer


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body, or None if it is over the gateway's limit."""
    chunks = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > _LARGEST_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _refusal(status: int, message: str, request_id: str) -> web.Response:
    return web.json_response(
        {"message": message}, status=status, headers={"apigw-requestid": request_id}
    )
