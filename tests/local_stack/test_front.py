"""The front makes events and answers as an HTTP API does."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.local import front
from tests.local.clock import Clock, run_loop
from tests.local.functions import Function, Functions
from tests.local.template import Authorizer, Route
from tests.local_stack.conftest import definition_of

BY_HEADER = Authorizer("keeper", ("$request.header.Authorization",), ttl=30)
BY_ROUTE = Authorizer("keeper", ("$request.header.Authorization", "$context.routeKey"), ttl=30)
UNREMEMBERED = Authorizer("keeper", (), ttl=0)
ROUTES = (
    Route("POST", "/kept", "echo", "CUSTOM", BY_HEADER),
    Route("GET", "/kept", "echo", "CUSTOM", BY_HEADER),
    Route("GET", "/kept-by-route", "echo", "CUSTOM", BY_ROUTE),
    Route("GET", "/kept-by-route/{id}", "echo", "CUSTOM", BY_ROUTE),
    Route("GET", "/unremembered", "echo", "CUSTOM", UNREMEMBERED),
    Route("POST", "/echo", "echo", "AWS_IAM"),
    Route("GET", "/things/{thing_id}", "echo", "NONE"),
    Route("GET", "/things/special", "special", "NONE"),
    Route("ANY", "/files/{path+}", "echo", "NONE"),
    Route("GET", "/answer", "answer", "NONE"),
)


class Door:
    """One connection to a front, kept alive."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def request(self, method: str, target: str, body: Any = None, headers: Any = ()) -> Any:
        self.connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            self.connection.putheader(name, value)
        if body is not None:
            self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def event(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        status, _, content = self.request(*arguments, **options)
        assert status == 200
        return json.loads(content)


@contextlib.contextmanager
def served(clock: Clock | None = None, **handlers: Callable[[Any, Any], Any]) -> Iterator[Door]:
    functions = Functions(
        Function(definition_of(name), handler) for name, handler in handlers.items()
    )
    listening = front.bound("127.0.0.1", 0)
    server = front.Front(listening, ROUTES, functions, clock or Clock(stepped=True))
    server.start()
    door = Door(listening.getsockname()[1])
    try:
        yield door
    finally:
        door.connection.close()
        server.close()


@pytest.fixture
def echo() -> Iterator[Door]:
    with served(
        echo=lambda event, _: event,
        special=lambda _, __: {"special": True},
    ) as door:
        yield door


def answering(answer: Any) -> Any:
    return served(answer=lambda _, __: answer)


def test_a_json_body_arrives_as_text(echo):
    body = '{"to": "é"}'.encode()
    event = echo.event("POST", "/echo?a=1&a=2&b=", body, [("Content-Type", "application/json")])
    assert event["version"] == "2.0"
    assert event["routeKey"] == "POST /echo"
    assert event["rawPath"] == "/echo"
    assert event["rawQueryString"] == "a=1&a=2&b="
    assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert (event["body"], event["isBase64Encoded"]) == ('{"to": "é"}', False)
    assert event["headers"]["content-type"] == "application/json"
    assert "pathParameters" not in event
    request = event["requestContext"]
    assert (request["http"]["method"], request["http"]["path"]) == ("POST", "/echo")
    assert request["http"]["sourceIp"] == "127.0.0.1"
    assert (request["stage"], request["routeKey"]) == ("$default", "POST /echo")
    assert request["authorizer"]["iam"]["accountId"] == "123456789012"


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")],
        [("Content-Type", "application/octet-stream")],
        [],
    ],
)
def test_a_body_that_is_not_text_arrives_as_base64(echo, headers):
    event = echo.event("POST", "/echo", b"CallSid=CA1&To=", headers)
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"CallSid=CA1&To="


def test_a_request_without_a_body_has_none(echo):
    event = echo.event("POST", "/echo", b"")
    assert "body" not in event
    assert event["isBase64Encoded"] is False


def test_repeated_headers_are_joined_and_cookies_are_apart(echo):
    headers = [("X-Tag", "a"), ("x-tag", "b"), ("Cookie", "one=1; two=2")]
    event = echo.event("POST", "/echo", b"", headers)
    assert event["headers"]["x-tag"] == "a,b"
    assert event["cookies"] == ["one=1", "two=2"]
    assert "cookie" not in event["headers"]


def test_path_parameters_are_decoded(echo):
    event = echo.event("GET", "/things/a%20b")
    assert event["pathParameters"] == {"thing_id": "a b"}
    assert event["rawPath"] == "/things/a b"
    assert event["routeKey"] == "GET /things/{thing_id}"
    assert "authorizer" not in event["requestContext"]


def test_the_more_literal_path_is_preferred(echo):
    assert echo.event("GET", "/things/special") == {"special": True}


def test_a_greedy_parameter_takes_the_rest_and_any_takes_every_method(echo):
    event = echo.event("DELETE", "/files/a/b")
    assert event["pathParameters"] == {"path": "a/b"}
    assert event["routeKey"] == "ANY /files/{path+}"


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/nowhere"), ("GET", "/echo"), ("GET", "/things/"), ("GET", "/things/a/b")],
)
def test_an_unknown_route_is_not_found(echo, method, target):
    status, headers, content = echo.request(method, target)
    assert (status, json.loads(content)) == (404, {"message": "Not Found"})
    assert headers["apigw-requestid"]


def test_a_body_over_the_limit_is_refused(echo):
    body = b"x" * (10 * 1024 * 1024)
    assert echo.request("POST", "/echo", body)[0] == 200
    status, _, content = echo.request("POST", "/echo", body + b"x")
    assert (status, json.loads(content)) == (413, {"message": "Request Entity Too Large"})


def test_a_full_answer_is_passed_on():
    answer = {
        "statusCode": 202,
        "headers": {"Location": "/things/1", "X-Count": 3, "X-Yes": True, "Content-Length": "99"},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": base64.b64encode(b"\x00wav").decode(),
        "isBase64Encoded": True,
    }
    with answering(answer) as door:
        status, headers, content = door.request("GET", "/answer")
    assert (status, content) == (202, b"\x00wav")
    assert (headers["Location"], headers["X-Count"], headers["X-Yes"]) == ("/things/1", "3", "true")
    assert headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]


def test_a_bare_answer_is_json():
    with answering({"hello": "there"}) as door:
        status, headers, content = door.request("GET", "/answer")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(content) == {"hello": "there"}


def test_an_answer_without_a_body_is_empty():
    with answering({"statusCode": 204}) as door:
        status, _, content = door.request("GET", "/answer")
    assert (status, content) == (204, b"")


@pytest.mark.parametrize(
    "answer",
    [{"statusCode": "soon"}, {"statusCode": 200, "body": {}, "headers": {"a": []}}],
)
def test_a_nonsense_answer_is_an_internal_error(answer, capsys):
    with answering(answer) as door:
        status, _, content = door.request("GET", "/answer")
    assert (status, json.loads(content)) == (500, {"message": "Internal Server Error"})
    assert "GET /answer failed" in capsys.readouterr().err


def test_a_failing_handler_is_an_internal_error_with_its_traceback_printed(capsys):
    def fail(_: Any, __: Any) -> None:
        raise RuntimeError("by hand")

    with served(answer=fail) as door:
        status, _, content = door.request("GET", "/answer")
        assert (status, json.loads(content)) == (500, {"message": "Internal Server Error"})
        # The connection is still good.
        assert door.request("GET", "/nowhere")[0] == 404
    assert "RuntimeError: by hand" in capsys.readouterr().err


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nNo Header: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /things/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_invalid_http_gets_a_response_and_is_not_printed(echo, sent, caplog, capsys):
    with socket.create_connection(("127.0.0.1", echo.connection.port)) as stranger:
        stranger.sendall(sent)
        assert stranger.recv(1000).startswith(b"HTTP/1.0 400 ")
    assert (caplog.records, capsys.readouterr().err) == ([], "")


def test_a_packed_body_arrives_as_it_was_sent(echo):
    event = echo.event("POST", "/echo", b"\x1f\x8b", [("Content-Encoding", "gzip")])
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b"\x1f\x8b")


def test_requests_are_answered_side_by_side():
    """Each handler returns only when all of them are running."""
    together = threading.Barrier(50)

    def meet(_: Any, __: Any) -> int:
        return together.wait() >= 0

    with served(answer=meet) as door:
        port = door.connection.port

        def ask(_: int) -> int:
            other = Door(port)
            try:
                return other.request("GET", "/answer")[0]
            finally:
                other.connection.close()

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(ask, range(50))) == {200}


class Keeper:
    """An authorizer that lets in whoever says `open`, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Any = None

    def __call__(self, event: Any, _: Any) -> Any:
        self.asked.append(event)
        if self.answer is not None:
            return self.answer
        is_authorized = event["headers"].get("authorization") == "open"
        return {"isAuthorized": is_authorized, "context": {"tenant": "t", "asked": len(self.asked)}}


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def clock() -> Iterator[Clock]:
    stepped = Clock(stepped=True)
    with run_loop(stepped):
        yield stepped


@pytest.fixture
def kept(keeper: Keeper, clock: Clock) -> Iterator[Door]:
    with served(clock, echo=lambda event, _: event, keeper=keeper) as door:
        yield door


OPEN = [("Authorization", "open")]


def test_an_event_is_stamped_in_virtual_time(kept, clock):
    clock.start_thread("a day", clock.pause, 86_400)
    clock.until(lambda: clock.seconds() >= 86_400, within=86_401)
    event = kept.event("GET", "/things/a")
    moment = clock.now()
    assert event["requestContext"]["timeEpoch"] == int(moment.timestamp() * 1000)
    assert event["requestContext"]["time"] == moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
    assert event["headers"]["x-amzn-trace-id"].startswith(f"Root=1-{int(moment.timestamp()):x}-")


def test_an_authorizer_is_asked_without_the_body_and_its_context_goes_on(kept, keeper):
    event = kept.event("POST", "/kept?a=1", b"secret", OPEN)
    assert event["requestContext"]["authorizer"] == {"lambda": {"tenant": "t", "asked": 1}}
    assert base64.b64decode(event["body"]) == b"secret"
    (asked,) = keeper.asked
    assert (asked["version"], asked["type"]) == ("2.0", "REQUEST")
    assert asked["routeArn"].endswith("/$default/POST/kept")
    assert (asked["routeKey"], asked["rawQueryString"]) == ("POST /kept", "a=1")
    assert asked["identitySource"] == ["open"]
    assert "authorizer" not in asked["requestContext"]
    assert "body" not in asked


@pytest.mark.parametrize("headers", [[], [("Authorization", "")]])
def test_without_the_identity_source_a_request_is_unauthorized_and_nobody_is_asked(
    kept, keeper, headers
):
    status, answered, content = kept.request("GET", "/kept", headers=headers)
    assert (status, json.loads(content)) == (401, {"message": "Unauthorized"})
    assert answered["apigw-requestid"]
    assert keeper.asked == []


def test_an_unauthorized_request_is_forbidden_and_reaches_no_function(kept):
    status, _, content = kept.request("GET", "/kept", headers=[("Authorization", "no")])
    assert (status, json.loads(content)) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize(("word", "status"), [("open", 200), ("no", 403)])
def test_an_answer_is_remembered_for_its_time_whatever_the_route(kept, keeper, clock, word, status):
    headers = [("Authorization", word)]
    for method in ("GET", "POST", "GET"):
        clock.pause(10)
        assert kept.request(method, "/kept", headers=headers)[0] == status
    assert len(keeper.asked) == 1
    clock.pause(10)
    assert kept.request("GET", "/kept", headers=headers)[0] == status
    assert len(keeper.asked) == 2


def test_an_answer_is_remembered_by_every_identity_source(kept, keeper):
    for target in ("/kept-by-route", "/kept-by-route/1", "/kept-by-route/2"):
        assert kept.request("GET", target, headers=OPEN)[0] == 200
    assert [asked["routeKey"] for asked in keeper.asked] == [
        "GET /kept-by-route",
        "GET /kept-by-route/{id}",
    ]
    assert kept.request("GET", "/kept-by-route", headers=[("Authorization", "no")])[0] == 403


def test_an_answer_that_lives_no_time_is_not_remembered(kept, keeper):
    for _ in range(2):
        assert kept.request("GET", "/unremembered", headers=OPEN)[0] == 200
    assert len(keeper.asked) == 2


@pytest.mark.parametrize("answer", ["yes", {"isAuthorized": "true"}, {"context": {}}])
def test_an_invalid_authorizer_response_denies_access(kept, keeper, answer, capsys):
    keeper.answer = answer
    status, _, content = kept.request("GET", "/kept", headers=OPEN)
    assert (status, json.loads(content)) == (500, {"message": "Internal Server Error"})
    assert "the authorizer answered" in capsys.readouterr().err


def test_a_failing_authorizer_denies_access_and_is_not_cached(capsys):
    failing = [RuntimeError("by hand")]

    def keeper(_: Any, __: Any) -> Any:
        if failing:
            raise failing.pop()
        return {"isAuthorized": True}

    with served(echo=lambda event, _: event, keeper=keeper) as door:
        status, _, content = door.request("GET", "/kept", headers=OPEN)
        assert (status, json.loads(content)) == (500, {"message": "Internal Server Error"})
        assert "RuntimeError: by hand" in capsys.readouterr().err
        assert door.event("GET", "/kept", headers=OPEN)["requestContext"]["authorizer"] == {
            "lambda": {}
        }


def test_only_loopback_is_listened_on():
    with pytest.raises(ValueError, match="loopback only"):
        front.bound("0.0.0.0", 0)
