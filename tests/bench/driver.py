"""Answers requests with one handler, in a process of its own: what valgrind counts.

Not imported. `warm` starts it by its path with `python -I -S`, as a Lambda sandbox starts a
handler: nothing of this machine is on the path. The standard input is JSON: `path`, folders for
sys.path; `carrier_url`; `warm_up` and `counted`, lists of events; `fork`, whether to count.

With `fork` a forked process answers the counted events, and this one ends without them. Their
difference is what the events cost. Otherwise the answers and the numbers of requests to AWS and to
the carrier are printed as JSON.
"""

import json
import os
import socket
import sys
from collections import Counter
from datetime import UTC, datetime
from ipaddress import ip_address

# Under valgrind a process takes some fifty times as long. Its clock goes slower by as much: a cache
# of five seconds is then not read more often than in Lambda, and no departure is missed. It goes as
# slowly without valgrind, so that a busy machine does not change the number of requests either.
SLOWER = 50


class Context:
    """What the handlers use of Lambda's context object."""

    function_name = "bench"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    memory_limit_in_mb = "512"
    aws_request_id = "8f5a1c1e-6a5d-4b7e-9a55-5b0f3d3c0001"
    log_group_name = "/aws/lambda/bench"
    log_stream_name = "local"

    @staticmethod
    def get_remaining_time_in_millis():
        return 30_000


def stay_on_this_machine():
    """Let only loopback resolve: a wrong address must not dial real telephones."""
    resolve = socket.getaddrinfo

    def guarded(host, *arguments, **options):
        if host != "localhost" and not ip_address(host).is_loopback:
            raise RuntimeError("not a loopback address")
        return resolve(host, *arguments, **options)

    socket.getaddrinfo = guarded


def slow_down(module):
    began = datetime.now(UTC)
    module.now = lambda: began + (datetime.now(UTC) - began) / SLOWER


def redirect(handler, url):
    """Make the textbook's Twilio client send to the local carrier. Ours reads a variable."""
    if hasattr(handler, "twilio"):
        handler.twilio.api.base_url = url
        assert handler.twilio.api.v2010.domain.base_url == url


def count_requests():
    """Count what is sent from here on. The warm-up has imported whatever sends."""
    counts = Counter()
    for module, session, name in (
        ("botocore.httpsession", "URLLib3Session", "aws"),
        ("requests", "Session", "carrier"),
    ):
        if module not in sys.modules:
            continue
        kind = getattr(sys.modules[module], session)

        def counted(*arguments, _send=kind.send, _name=name, **options):
            counts[_name] += 1
            return _send(*arguments, **options)

        kind.send = counted
    return counts


def answer_all(handler, events):
    answers = []
    for event in events:
        answer = handler.handler(event, Context())
        if not 200 <= answer["statusCode"] < 300:
            raise RuntimeError(f"{answer['statusCode']}: {answer.get('body')}")
        answers.append(answer)
    return answers


def main():
    job = json.load(sys.stdin)
    sys.path[:0] = job["path"]
    stay_on_this_machine()
    output, sys.stdout = sys.stdout, sys.stderr  # for what the handlers log
    import handler  # noqa: PLC0415  (from the path of the job)

    if "callback.clock" in sys.modules:
        slow_down(sys.modules["callback.clock"])
    redirect(handler, job["carrier_url"])
    answer_all(handler, job["warm_up"])
    if not job["fork"]:
        counts = count_requests()
        answers = answer_all(handler, job["counted"])
        print(json.dumps({"answers": answers, **counts}), file=output)
        return
    child = os.fork()
    if child == 0:
        try:
            answer_all(handler, job["counted"])
        except BaseException as error:  # noqa: BLE001 - the process ends here in any case
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status))


main()
