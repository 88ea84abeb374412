"""Scan the template with checkov, cfn-lint's serverless rules, parliament and statelint.

    python -m tests.scanners build/scanners

Every finding needs an exception below, with a reason, and every exception must be needed. Each
scanner also scans a template, or a workflow, with a planted fault, and must find the fault. This
shows that the scanner works: one that finds nothing may have read nothing.
"""

import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.local import template
from tests.template import document

WORKFLOW = document.ROOT / "functions" / "workflow" / "callback.asl.yaml"


class Finding(NamedTuple):
    """`what` is the scanner's name for the rule, `where` the resource's logical id."""

    what: str
    where: str
    words: str


# The key is a rule, or a rule and a resource.
EXCEPTIONS: dict[str | tuple[str, str], str] = {
    # -- checkov -----------------------------------------------------------------------------------
    "CKV_AWS_115": (
        "Reserved concurrency is taken from the account's other functions. Concurrency is limited"
        " at the entrances: by the stage's throttling and the queues' MaximumConcurrency."
    ),
    "CKV_AWS_116": (
        "A dead letter queue is for asynchronous invocations. CloseCallback has one. A schedule"
        " runs again in the next minute. Other functions are invoked synchronously, or read a queue"
        " that has a dead letter queue."
    ),
    "CKV_AWS_117": (
        "There is nothing in a VPC to reach. Functions call AWS and the carrier, for which a VPC"
        " would need a gateway to the internet."
    ),
    "CKV_AWS_119": (
        "The table is encrypted with the account's aws/dynamodb key. A customer managed key would"
        " admit the same roles: those that may use the table."
    ),
    "CKV_AWS_158": (
        "CloudWatch's own key encrypts logs; they hold no number (tests/support/canary.py)."
    ),
    "CKV_AWS_173": (
        "Variables hold names and URLs, never secrets (tests/template/test_environment.py), and are"
        " encrypted at rest by Lambda's own key."
    ),
    "CKV_AWS_27": (
        "Queues are encrypted with SQS's own key (SqsManagedSseEnabled), which the check does not"
        " recognize. Messages hold ids only."
    ),
    # -- cfn-lint's serverless rules ---------------------------------------------------------------
    "ES1001": "The source is a queue with its own dead letter queue; OnFailure is for streams.",
    "WS1000": "Tracing is a parameter (tests/template/test_resources.py): each trace is paid.",
    "WS1004": (
        "The rule looks for a log group with the function's reference in its name. Our functions"
        " name theirs in LoggingConfig; it has a retention (tests/template/test_resources.py)."
    ),
    ("ES1007", "EraseRuleMayErase"): "The next minute's run continues where a failed run stopped.",
    ("ES1007", "PlanDeparturesRuleMayPlan"): "The next minute's run plans what a failed run left.",
    ("ES1007", "ResumeDeliveriesRuleMayResume"): "The next minute's run resumes the rest.",
    ("ES1007", "ReconcileRuleMayReconcile"): "The next minute's run does the rest of a failed run.",
    ("ES1007", "TriggerRuleMayTrigger"): "EventInvokeConfig sends failed events to a queue.",
    ("ES4000", "EraseRule"): "The rule runs again in the next minute.",
    ("ES4000", "PlanDeparturesRule"): "The rule runs again in the next minute.",
    ("ES4000", "ReconcileRule"): "The rule runs again in the next minute.",
    ("ES4000", "ResumeDeliveriesRule"): "The rule runs again in the next minute.",
    ("ES4000", "TriggerRule"): "The rule's retries hand the event over; the function keeps it.",
    ("ES6000", "MissedDepartures"): "It is itself a dead letter queue.",
    ("ES6000", "RefusedTriggers"): "It is itself a dead letter queue.",
    ("ES6000", "UnclosedCallbacks"): "It is itself a dead letter queue.",
    ("ES6000", "UnpublishedEvents"): "It is itself a dead letter queue.",
    ("ES6000", "UnsentDeliveries"): "It is itself a dead letter queue.",
    ("ES6000", "UnsettledCallbacks"): "It is itself a dead letter queue.",
    # -- parliament --------------------------------------------------------------------------------
    "RESOURCE_MISMATCH states:SendTaskSuccess states:SendTaskFailure": (
        "The service authorization reference names no resource for these two, yet Step Functions"
        " holds them to the state machine's ARN, as aws-cdk's grantTaskResponse has it."
    ),
    "RESOURCE_MISMATCH states:SendTaskFailure": (
        "As above: Step Functions holds it to the state machine's ARN."
    ),
}

# The finding that each scanner must report for its planted fault.
TABLE = "CallbackTable"
PLANTED = {
    "checkov": ("CKV_AWS_28", TABLE),  # point-in-time recovery is off
    "cfn-lint": ("ES6000", "DeliveryQueue"),  # no dead letter queue
    "parliament": ("UNKNOWN_ACTION", "AuthorizerRole"),
    "statelint": ("statelint", "workflow"),  # a transition to a missing state
}


def faulty(translated: dict[str, Any]) -> dict[str, Any]:
    resources = copy.deepcopy(translated)["Resources"]
    recovery = resources[TABLE]["Properties"]["PointInTimeRecoverySpecification"]
    recovery["PointInTimeRecoveryEnabled"] = False
    del resources["DeliveryQueue"]["Properties"]["RedrivePolicy"]
    return {**translated, "Resources": resources}


def policies() -> dict[str, Any]:
    """What each role may do, with its references resolved for an imaginary account."""
    source = document.source()
    values = template._parameter_values(source, {})
    resolver = template._Resolver(template._translate(source, values), values, document.ROOT)
    found: dict[str, Any] = {}
    for name, statement in document.statements({"Resources": resolver._resources}):
        if "Principal" not in statement:
            policy = found.setdefault(name, {"Version": "2012-10-17", "Statement": []})
            policy["Statement"].append(_with_streams(resolver._resolve(statement)))
    return found


def _with_streams(statement: dict[str, Any]) -> dict[str, Any]:
    """Adapt two kinds of ARN for parliament.

    A log group's Arn ends in :* (CloudFormation, AWS::Logs::LogGroup, "Return values"). A table
    stream's ARN ends in a time; parliament mistakes its colons for separators of the ARN.
    """
    resource = statement["Resource"]
    if isinstance(resource, str) and resource.startswith("arn:aws:logs:"):
        return {**statement, "Resource": f"{resource}:*"}
    if isinstance(resource, str) and "/stream/" in resource:
        table, _, began = resource.partition("/stream/")
        return {**statement, "Resource": f"{table}/stream/{began.replace(':', '-')}"}
    return statement


def output(command: list[str], given: str = "") -> str:
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if not ran.stdout:
        sys.exit(f"{Path(command[0]).name} failed:\n{ran.stderr}")
    return ran.stdout


def checkov(scanners: Path, path: Path) -> list[Finding]:
    options = ("--framework", "cloudformation", "--skip-download", "--quiet", "--output", "json")
    report = json.loads(output([str(scanners / "bin" / "checkov"), *options, "-f", str(path)]))
    assert report["summary"]["resource_count"] > 0, "checkov has looked at nothing"
    return [
        Finding(failed["check_id"], failed["resource"].split(".")[-1], failed["check_name"])
        for failed in report["results"]["failed_checks"]
    ]


def cfn_lint(scanners: Path, path: Path) -> list[Finding]:
    options = ("--append-rules", "cfn_lint_serverless.rules", "--format", "json", "--")
    found = json.loads(output([str(scanners / "bin" / "cfn-lint"), *options, str(path)]))
    return [
        Finding(each["Rule"]["Id"], str(each["Location"]["Path"][1]), each["Message"])
        for each in found
    ]


def parliament(scanners: Path, given: dict[str, Any]) -> list[Finding]:
    script = Path(__file__).with_name("policies.py")
    said = output([str(scanners / "bin" / "python"), str(script)], json.dumps(given))
    return [
        Finding(" ".join([issue, *_actions(issue, detail)]), name, detail)
        for issue, name, detail in json.loads(said)
    ]


def _actions(issue: str, detail: str) -> list[str]:
    if issue != "RESOURCE_MISMATCH":
        return []
    return [each["action"] for each in yaml.safe_load(detail)]


def statelint(workflow: Path) -> list[Finding]:
    # FLOAT: Step Functions accepts whole numbers where the linter requires a decimal point.
    program = Path(sys.executable).with_name("statelint")
    ran = subprocess.run(
        [str(program), "--ignore", "FLOAT", "--yaml", str(workflow)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = ran.stdout + ran.stderr
    return [Finding("statelint", "workflow", said)] if ran.returncode or said.strip() else []


def reason_for(finding: Finding) -> str | tuple[str, str] | None:
    """The key of the exception that covers the finding."""
    keys: tuple[str | tuple[str, str], ...] = ((finding.what, finding.where), finding.what)
    return next((key for key in keys if key in EXCEPTIONS), None)


def report(findings: Iterable[Finding]) -> int:
    """Print and count the findings without an exception, and the exceptions without a finding."""
    used, wrong = set(), 0
    for finding in findings:
        key = reason_for(finding)
        if key is None:
            wrong += 1
            print(f"{finding.what} {finding.where}: {finding.words}", file=sys.stderr)
        else:
            used.add(key)
    for key in EXCEPTIONS.keys() - used:
        wrong += 1
        print(f"{key} is excepted, and nobody finds it any more", file=sys.stderr)
    return wrong


def main(scanners: Path) -> int:
    translated = document.translated()
    granted = policies()
    wrongly = copy.deepcopy(granted)
    wrongly["AuthorizerRole"]["Statement"][0]["Action"] = "logs:CreateLogStreams"
    workflow = WORKFLOW.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        sound, planted = Path(folder, "sound.json"), Path(folder, "planted.json")
        sound.write_text(json.dumps(translated), encoding="utf-8")
        planted.write_text(json.dumps(faulty(translated)), encoding="utf-8")
        astray = Path(folder, "astray.asl.yaml")
        astray.write_text(workflow.replace("Next: CallSecondParty", "Next: Nowhere"), "utf-8")
        works = {
            "checkov": [
                pool.submit(checkov, scanners, document.TEMPLATE),
                pool.submit(checkov, scanners, planted),
            ],
            "cfn-lint": [pool.submit(cfn_lint, scanners, path) for path in (sound, planted)],
            "parliament": [pool.submit(parliament, scanners, each) for each in (granted, wrongly)],
            "statelint": [pool.submit(statelint, path) for path in (WORKFLOW, astray)],
        }
        results = {name: [work.result() for work in pair] for name, pair in works.items()}
    wrong = report(finding for found, _ in results.values() for finding in found)
    for name, (_, found) in results.items():
        if PLANTED[name] not in [(each.what, each.where) for each in found]:
            wrong += 1
            print(f"{name} did not find the fault that was planted", file=sys.stderr)
    if not wrong:
        print("checkov, cfn-lint's serverless rules, parliament and statelint found nothing else")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
