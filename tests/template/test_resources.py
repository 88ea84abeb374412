"""What the template promises about the deployment, proved on its translation."""

import ast
import fnmatch
import json
import re
from graphlib import TopologicalSorter
from typing import Any

import cfnlint.api
import pytest

from callback.privacy import erasing
from callback.requests import idempotency
from callback.webhooks import breakers, deliveries, http_sender, notifying, publishing
from tests.local.template import ACCOUNT, REGION, STACK_NAME, Template
from tests.local.template import load as load_local
from tests.template import document
from tests.template.document import as_list, of_type

DAYS = {"Ref": "LogRetentionDays"}


@pytest.fixture(scope="module")
def local() -> Template:
    """The template with its references resolved."""
    return load_local(document.TEMPLATE)


def test_no_resource_depends_on_itself(deployed: dict[str, Any]) -> None:
    TopologicalSorter(document.dependencies(deployed)).prepare()


def test_the_dependency_graph_has_the_edges_of_a_possible_cycle(deployed: dict[str, Any]) -> None:
    graph = document.dependencies(deployed)

    assert "HttpApi" in graph["CallbackApi"]
    assert "CallbackApi" in graph["CallbackApiIntegration"]
    assert {"PlaceLeg", "CloseCallback"} <= graph["CallbackWorkflow"]
    assert "CreateCallbackRoute" in graph["HttpApiStage"]


def test_cfn_lint_finds_nothing_in_the_translated_template(
    deployed: dict[str, Any], local: Template
) -> None:
    """Nor in the workflow. cfn-lint reads a definition only as an object, not as a string."""
    linted = json.loads(json.dumps(deployed))
    (workflow,) = of_type(linted, "AWS::StepFunctions::StateMachine").values()
    del workflow["DefinitionString"]
    workflow["Definition"] = json.loads(local.workflows[0].definition)
    regions = ["us-east-1", "eu-central-1"]
    found = cfnlint.api.lint(json.dumps(linted), cfnlint.api.ManualArgs(regions=regions))

    assert [str(match) for match in found] == []


def test_every_wildcard_has_a_written_reason(deployed: dict[str, Any]) -> None:
    """A wildcard within an ARN counts as well, for example `parameter/x*`."""
    broad = {
        (name, statement.get("Sid"))
        for name, statement in document.statements(deployed)
        if any("*" in json.dumps(statement.get(key, "")) for key in ("Action", "Resource"))
        or "NotAction" in statement
        or "NotResource" in statement
    }
    explained = {
        (name, sid)
        for name, resource in deployed["Resources"].items()
        for sid, reason in resource.get("Metadata", {}).get("WildcardReasons", {}).items()
        if len(reason.split()) >= 5
    }

    assert broad == explained


def test_only_aws_services_are_trusted(deployed: dict[str, Any]) -> None:
    trusted = {
        json.dumps(statement["Principal"])
        for _, statement in document.statements(deployed)
        if "Principal" in statement
    }

    assert trusted == {
        json.dumps({"Service": f"{service}.amazonaws.com"})
        for service in ("lambda", "states", "events")
    }


def test_roles_hold_only_policies_of_this_template(deployed: dict[str, Any]) -> None:
    """AWS's basic execution policy would allow writing to every log."""
    attached = {
        json.dumps(arn)
        for role in of_type(deployed, "AWS::IAM::Role").values()
        for arn in role.get("ManagedPolicyArns", [])
    }

    assert attached == {json.dumps({"Ref": "TracingPolicy"})}


@pytest.mark.parametrize("kind", ["AWS::Lambda::Function", "AWS::StepFunctions::StateMachine"])
def test_each_function_and_workflow_has_its_own_role(deployed: dict[str, Any], kind: str) -> None:
    roles = {
        name: set(document.references(properties.get("Role", properties.get("RoleArn"))))
        for name, properties in of_type(deployed, kind).items()
    }

    assert roles == {name: {f"{name}Role"} for name in roles}


def test_every_log_is_kept_for_the_configured_days(deployed: dict[str, Any]) -> None:
    groups = of_type(deployed, "AWS::Logs::LogGroup")

    assert [name for name, group in groups.items() if group.get("RetentionInDays") != DAYS] == []


def test_each_function_logs_where_its_role_may_write(deployed: dict[str, Any]) -> None:
    writable = {
        name.removesuffix("Role"): statement["Resource"]
        for name, statement in document.statements(deployed)
        if statement.get("Sid") == "WriteItsLogs"
    }
    logs = {
        name: set(document.references(properties["LoggingConfig"]["LogGroup"]))
        for name, properties in of_type(deployed, "AWS::Lambda::Function").items()
    }

    assert {name: set(document.references(arn)) for name, arn in writable.items()} == logs
    assert all(group in of_type(deployed, "AWS::Logs::LogGroup") for (group,) in logs.values())


def test_no_field_of_the_access_log_can_hold_a_number(deployed: dict[str, Any]) -> None:
    """A client may put a number into the path, the query, a header or its user agent."""
    (stage,) = of_type(deployed, "AWS::ApiGatewayV2::Stage").values()
    logged = set(re.findall(r"\$context\.([A-Za-z._]+)", stage["AccessLogSettings"]["Format"]))

    assert logged == {
        "requestId",
        "requestTime",
        "routeKey",
        "status",
        "error.responseType",
        "integration.status",
        "integrationErrorMessage",
        "responseLatency",
        "integrationLatency",
        "responseLength",
        "authorizer.tenant",
        "authorizer.key_id",
    }
    json.loads(re.sub(r"\$context\.[A-Za-z._]+", "x", stage["AccessLogSettings"]["Format"]))


def test_the_workflow_logs_no_data(deployed: dict[str, Any]) -> None:
    (workflow,) = of_type(deployed, "AWS::StepFunctions::StateMachine").values()

    assert workflow["LoggingConfiguration"]["Level"] == "ERROR"
    assert workflow["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert workflow["TracingConfiguration"] == {"Enabled": {"Fn::If": ["TracingIsOn", True, False]}}


def test_only_carrier_webhooks_and_the_api_document_need_no_key(local: Template) -> None:
    authorization = {route.path.split("/")[1]: route.authorization for route in local.routes}
    kinds = {(route.path.split("/")[1], route.authorization) for route in local.routes}

    assert authorization == {
        "voice": "CUSTOM",
        "carrier": "NONE",
        "openapi.json": "NONE",
        "docs": "NONE",
    }
    assert kinds == set(authorization.items())


def test_a_revoked_key_is_worthless_within_a_minute_on_every_route(local: Template) -> None:
    (authorizer,) = {route.authorizer for route in local.routes if route.authorizer}
    (function,) = [f for f in local.functions if f.logical_id == "Authorizer"]

    assert authorizer.function == function.name
    # Nobody is asked about a request without a key, and no answer is given to another key's.
    assert authorizer.identity_sources == ("$request.header.Authorization",)
    assert authorizer.ttl + function.timeout <= 60
    for route in local.routes:
        assert (route.authorizer == authorizer) == (route.authorization == "CUSTOM"), route.key


def test_only_the_api_may_invoke_the_authorizer(deployed: dict[str, Any]) -> None:
    (asking,) = [
        permission
        for permission in of_type(deployed, "AWS::Lambda::Permission").values()
        if permission["FunctionName"] == {"Ref": "Authorizer"}
    ]

    assert asking["Principal"] == "apigateway.amazonaws.com"
    assert asking["SourceArn"]["Fn::Sub"].endswith(":${HttpApi}/authorizers/${KeyAuthorizer}")


def test_the_authorizer_may_read_keys_and_no_callbacks(deployed: dict[str, Any]) -> None:
    (reading,) = [
        statement
        for name, statement in document.statements(deployed)
        if name == "AuthorizerRole" and "dynamodb" in json.dumps(statement["Action"])
    ]

    assert as_list(reading["Action"]) == ["dynamodb:GetItem"]
    assert reading["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["APIKEY#*"]}
    }


def test_the_api_may_call_the_function_behind_each_route(
    deployed: dict[str, Any], local: Template
) -> None:
    allowed: dict[str, list[str]] = {}
    for permission in of_type(deployed, "AWS::Lambda::Permission").values():
        if permission["Principal"] == "apigateway.amazonaws.com":
            arn = permission["SourceArn"]["Fn::Sub"]
            function = permission["FunctionName"]["Ref"]
            allowed.setdefault(function, []).append(arn.partition("${HttpApi}")[2])
    function_of = {f.name: f.logical_id for f in local.functions}

    assert len(local.routes) == 25
    for route in local.routes:
        asked = f"/$default/{route.method}{re.sub(r'{[^}]+}', 'x', route.path)}"
        patterns = allowed[function_of[route.function]]
        assert any(fnmatch.fnmatchcase(asked, pattern) for pattern in patterns), route.key


def test_each_route_is_handled_by_its_function(local: Template) -> None:
    for function in local.functions:
        routed = {route.key for route in local.routes if route.function == function.name}
        tree = ast.parse((function.folder / "handler.py").read_text(encoding="utf-8"))
        handled = {
            ast.literal_eval(key)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for key in node.value.keys
            if key is not None and ast.unparse(node.targets[0]) == "ROUTES"
        }
        assert handled == routed, function.logical_id


def test_each_route_and_each_function_has_an_event(local: Template) -> None:
    paths = [*(document.ROOT / "events").rglob("*.json")]
    events = [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    assert {route.key for route in local.routes} <= {event.get("routeKey") for event in events}
    assert {f.folder.name for f in local.functions} == {path.parent.name for path in paths}


def test_every_throttled_route_exists(deployed: dict[str, Any], local: Template) -> None:
    (stage,) = of_type(deployed, "AWS::ApiGatewayV2::Stage").values()
    paces = [stage["DefaultRouteSettings"], *stage["RouteSettings"].values()]

    assert set(stage["RouteSettings"]) <= {route.key for route in local.routes}
    assert all(0 < pace["ThrottlingRateLimit"] <= pace["ThrottlingBurstLimit"] for pace in paces)


def test_a_function_times_out_before_its_caller(local: Template) -> None:
    timeouts = {function.logical_id: function.timeout for function in local.functions}
    (workflow,) = local.workflows
    closing = json.loads(workflow.definition)["States"]["CloseCallback"]["TimeoutSeconds"]

    assert timeouts["CallbackApi"] < 29  # the gateway
    # A repeated request takes over only once the first process cannot run any more.
    assert timeouts["CallbackApi"] < idempotency._STILL_RUNNING.total_seconds()
    assert timeouts["Authorizer"] < 10  # the gateway, of an authorizer
    assert timeouts["CarrierWebhook"] < 15  # the carrier
    assert timeouts["CloseCallback"] < closing


def test_lambda_itself_logs_only_what_went_wrong(deployed: dict[str, Any]) -> None:
    for name, function in of_type(deployed, "AWS::Lambda::Function").items():
        assert function["LoggingConfig"]["SystemLogLevel"] == "WARN", name


def test_functions_can_be_traced_and_use_the_runtime_of_the_layer(deployed: dict[str, Any]) -> None:
    (layer,) = of_type(deployed, "AWS::Lambda::LayerVersion").values()
    for name, function in of_type(deployed, "AWS::Lambda::Function").items():
        assert function["TracingConfig"] == {
            "Mode": {"Fn::If": ["TracingIsOn", "Active", "PassThrough"]}
        }, name
        assert [function["Runtime"]] == layer["CompatibleRuntimes"], name
        assert function["Architectures"] == layer["CompatibleArchitectures"], name
        assert len(function["Layers"]) == 1, name


def test_callbacks_outlive_the_stack_and_can_be_restored(deployed: dict[str, Any]) -> None:
    ((name, table),) = of_type(deployed, "AWS::DynamoDB::Table").items()
    resource = deployed["Resources"][name]

    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


def events_may_invoke(deployed: dict[str, Any], function: str) -> set[str]:
    """The rules that may invoke the function."""
    return {
        rule
        for permission in of_type(deployed, "AWS::Lambda::Permission").values()
        if permission["Principal"] == "events.amazonaws.com"
        and function in set(document.references(permission["FunctionName"]))
        for rule in document.references(permission["SourceArn"])
    }


def invocation_of(deployed: dict[str, Any], function: str) -> dict[str, Any]:
    """The configuration of the function's asynchronous invocations."""
    (match,) = [
        config
        for config in of_type(deployed, "AWS::Lambda::EventInvokeConfig").values()
        if set(document.references(config["FunctionName"])) == {function}
    ]
    return match


def mapping_of(deployed: dict[str, Any], function: str) -> dict[str, Any]:
    """The event source mapping by which a queue or a stream invokes the function."""
    (match,) = [
        mapping
        for mapping in of_type(deployed, "AWS::Lambda::EventSourceMapping").values()
        if mapping["FunctionName"] == {"Ref": function}
    ]
    return match


def senders_to(deployed: dict[str, Any], queue: str) -> set[str]:
    """The roles and policies that allow sending a message to the queue."""
    return {
        name
        for name, statement in document.statements(deployed)
        if "sqs:SendMessage" in as_list(statement["Action"])
        and queue in set(document.references(statement["Resource"]))
    }


def test_the_callback_of_a_stopped_execution_is_closed(
    deployed: dict[str, Any], local: Template
) -> None:
    (rule,) = [rule for rule in local.rules if rule.logical_id == "StoppedExecutionRule"]
    (workflow,) = local.workflows
    (closing,) = [f for f in local.functions if f.logical_id == "CloseCallback"]

    assert rule.pattern == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "status": ["FAILED", "TIMED_OUT", "ABORTED"],
            "stateMachineArn": [workflow.arn],
        },
    }
    assert [target.function for target in rule.targets] == [closing.name]
    assert workflow.arn == (f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{STACK_NAME}-callback")
    assert events_may_invoke(deployed, "CloseCallback") == {rule.logical_id}


@pytest.mark.parametrize("function", ["Reconcile", "ResumeDeliveries", "Erase"])
def test_these_functions_run_every_minute(
    deployed: dict[str, Any], local: Template, function: str
) -> None:
    (definition,) = [f for f in local.functions if f.logical_id == function]
    (schedule,) = [s for s in local.schedules if s.targets[0].function == definition.name]

    assert schedule.seconds == 60
    assert len(schedule.targets) == 1
    assert definition.timeout < schedule.seconds
    assert events_may_invoke(deployed, function) == {schedule.logical_id}


@pytest.mark.parametrize("function", ["Reconcile", "ResumeDeliveries", "Erase"])
def test_a_failed_run_is_not_retried_before_the_next_minute(
    deployed: dict[str, Any], local: Template, function: str
) -> None:
    """Neither EventBridge nor Lambda retries it or keeps it for longer."""
    (definition,) = [f for f in local.functions if f.logical_id == function]
    (schedule,) = [s for s in local.schedules if s.targets[0].function == definition.name]
    rule = of_type(deployed, "AWS::Events::Rule")[schedule.logical_id]
    (target,) = rule["Targets"]
    once = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": schedule.seconds}

    assert rule.get("State", "ENABLED") == "ENABLED"
    assert target["RetryPolicy"] == once
    assert invocation_of(deployed, function).items() >= once.items()


def test_the_erasure_function_may_not_read_callbacks(deployed: dict[str, Any]) -> None:
    (statement,) = [
        statement
        for name, statement in document.statements(deployed)
        if name == "ErasureApiRole" and "dynamodb" in json.dumps(statement["Action"])
    ]

    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["ERASURE#*", "ERASURES*"]}
    }


def test_an_erasure_waits_for_every_request_accepted_before_it(local: Template) -> None:
    """Including a request authorized in the last moment of a revoked key."""
    ttl = max(route.authorizer.ttl for route in local.routes if route.authorizer)
    longest = max(function.timeout for function in local.functions)

    assert ttl + longest < erasing._LAST_REQUEST.total_seconds()


def retried_then_kept(
    deployed: dict[str, Any], local: Template, function: str, queue: str, dead_letters: str
) -> None:
    """The function consumes the queue. A message that keeps failing becomes a dead letter."""
    (taker,) = [f for f in local.functions if f.logical_id == function]
    (source,) = [s for s in local.queue_sources if s.function == taker.name]
    (mapping,) = [
        mapping
        for mapping in of_type(deployed, "AWS::Lambda::EventSourceMapping").values()
        if mapping["FunctionName"] == {"Ref": function}
    ]
    queues = of_type(deployed, "AWS::SQS::Queue")
    redrive = queues[queue]["RedrivePolicy"]

    assert source.queue_url.endswith(f"-{queue}")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping.get("Enabled", True) is True
    assert queues[queue]["VisibilityTimeout"] >= 6 * taker.timeout
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}
    # Lambda's least, because its pollers take messages that then find no function free.
    assert redrive["maxReceiveCount"] >= 5
    # A message that outlives its queue is deleted and never becomes a dead letter.
    all_tries = redrive["maxReceiveCount"] * queues[queue]["VisibilityTimeout"]
    assert 60 < all_tries < queues[queue]["MessageRetentionPeriod"]
    assert senders_to(deployed, dead_letters) == set()
    for each in (queue, dead_letters):
        assert queues[each]["SqsManagedSseEnabled"] is True
    assert queues[dead_letters]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_a_failed_settling_is_retried_and_then_kept(
    deployed: dict[str, Any], local: Template
) -> None:
    retried_then_kept(deployed, local, "SettleCallback", "SettleQueue", "UnsettledCallbacks")
    assert senders_to(deployed, "SettleQueue") == {
        "CallbackApiRole",
        "CarrierWebhookRole",
        "TriggerRole",
    }


def test_a_failed_departure_is_retried_and_then_kept(
    deployed: dict[str, Any], local: Template
) -> None:
    retried_then_kept(deployed, local, "UseDeparture", "DepartureQueue", "MissedDepartures")
    assert senders_to(deployed, "DepartureQueue") == {
        "PlaceLegRole",
        "UseDepartureRole",
        "PlanDeparturesRole",
        "CallbackApiRole",
        "TriggerRole",
        "AcceptTriggerRole",
    }


def test_a_failed_trigger_is_retried_and_then_kept(
    deployed: dict[str, Any], local: Template
) -> None:
    retried_then_kept(deployed, local, "AcceptTrigger", "TriggerQueue", "RefusedTriggers")
    assert senders_to(deployed, "TriggerQueue") == {"TriggerRole", "TriggerEventRole"}


def test_a_trigger_is_not_retried_while_its_first_attempt_may_still_run(local: Template) -> None:
    """Otherwise the retry would meet the first attempt instead of its result."""
    timeouts = {function.logical_id: function.timeout for function in local.functions}

    assert timeouts["Trigger"] < 29  # the gateway
    for name in ("Trigger", "AcceptTrigger"):
        assert timeouts[name] < idempotency._STILL_RUNNING.total_seconds()


def test_an_event_of_the_configured_source_requests_a_callback(
    deployed: dict[str, Any], local: Template
) -> None:
    (rule,) = [rule for rule in local.rules if rule.logical_id == "TriggerRule"]
    (door,) = [f for f in local.functions if f.logical_id == "TriggerEvent"]

    assert rule.pattern == {
        "source": [deployed["Parameters"]["TriggerEventSource"]["Default"]],
        "detail-type": ["Callback Requested"],
    }
    assert [target.function for target in rule.targets] == [door.name]
    assert events_may_invoke(deployed, "TriggerEvent") == {rule.logical_id}
    assert not rule.pattern["source"][0].startswith("aws.")


def test_no_dead_letter_holds_an_event(deployed: dict[str, Any]) -> None:
    """A dead letter may hold only ids, and an event holds numbers."""
    (target,) = of_type(deployed, "AWS::Events::Rule")["TriggerRule"]["Targets"]

    assert "DeadLetterConfig" not in target
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert invocation_of(deployed, "TriggerEvent")["MaximumRetryAttempts"] == 2
    assert not invocation_of(deployed, "TriggerEvent").get("DestinationConfig")


def test_only_lambda_receives_messages_and_no_function_receives_dead_letters(
    deployed: dict[str, Any],
) -> None:
    """Lambda receives in the name of the queue's function. An operator reads dead letters."""
    takers = {
        (name, json.dumps(statement["Resource"]))
        for name, statement in document.statements(deployed)
        for action in as_list(statement["Action"])
        if action.startswith("sqs:") and action != "sqs:SendMessage"
    }

    assert takers == {
        ("SettleCallbackRole", json.dumps({"Fn::GetAtt": ["SettleQueue", "Arn"]})),
        ("UseDepartureRole", json.dumps({"Fn::GetAtt": ["DepartureQueue", "Arn"]})),
        ("AcceptTriggerRole", json.dumps({"Fn::GetAtt": ["TriggerQueue", "Arn"]})),
        ("NotifyClientRole", json.dumps({"Fn::GetAtt": ["DeliveryQueue", "Arn"]})),
    }


def test_only_functions_that_settle_for_a_client_or_the_carrier_use_the_settle_queue(
    deployed: dict[str, Any],
) -> None:
    """Other functions fail instead, and the whole invocation is retried."""
    told = {
        f"{name}Role": function["Environment"]["Variables"]["SETTLE_QUEUE_URL"]
        for name, function in of_type(deployed, "AWS::Lambda::Function").items()
        if "SETTLE_QUEUE_URL" in function["Environment"]["Variables"]
    }

    assert set(told) == senders_to(deployed, "SettleQueue")
    assert all(url == {"Ref": "SettleQueue"} for url in told.values())


def test_every_queue_is_used_and_encrypted_with_a_key_that_its_senders_may_use(
    deployed: dict[str, Any],
) -> None:
    queues = of_type(deployed, "AWS::SQS::Queue")

    assert set(queues) == {
        "SettleQueue",
        "UnsettledCallbacks",
        "DepartureQueue",
        "MissedDepartures",
        "UnclosedCallbacks",
        "TriggerQueue",
        "RefusedTriggers",
        "DeliveryQueue",
        "UnsentDeliveries",
        "UnpublishedEvents",
    }
    assert [name for name, each in queues.items() if "KmsMasterKeyId" in each] == []


def test_one_logged_failure_raises_its_alarm_and_notifies_the_topic(
    deployed: dict[str, Any],
) -> None:
    counted: dict[str, set[str]] = {}
    for filter_ in of_type(deployed, "AWS::Logs::MetricFilter").values():
        (count,) = filter_["MetricTransformations"]
        assert count["MetricValue"] == "1"
        counted.setdefault(json.dumps([count["MetricNamespace"], count["MetricName"]]), set()).add(
            filter_["LogGroupName"]["Ref"]
        )
    logs_with = {
        "CallsHeldInCarrierQueue": {"CarrierWebhookLogs", "ReconcileLogs"},
        "WebhookDeliveriesFailed": {"NotifyClientLogs", "ResumeDeliveriesLogs"},
    }
    watched = {}
    for alarm in of_type(deployed, "AWS::CloudWatch::Alarm").values():
        if alarm["Namespace"] == "AWS/SQS":
            continue
        metric = json.dumps([alarm["Namespace"], alarm["MetricName"]])
        watched[metric] = counted[metric]
        assert watched[metric] == logs_with[alarm["MetricName"]]
        assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
        given, topic, _ = alarm["AlarmActions"]["Fn::If"]
        assert (given, topic) == ("AlarmTopicIsGiven", [{"Ref": "AlarmTopicArn"}])

    assert len(watched) == len(logs_with)
    assert watched.keys() == counted.keys()


def test_a_callback_that_could_not_be_closed_is_kept_in_an_encrypted_queue(
    deployed: dict[str, Any],
) -> None:
    """Events that the rule could not deliver and events that the function failed on."""
    queue = "UnclosedCallbacks"
    properties = of_type(deployed, "AWS::SQS::Queue")[queue]
    rule = of_type(deployed, "AWS::Events::Rule")["StoppedExecutionRule"]
    (target,) = rule["Targets"]
    invoke = invocation_of(deployed, "CloseCallback")
    (from_rule,) = [
        statement for name, statement in document.statements(deployed) if name == f"{queue}Policy"
    ]

    assert properties["SqsManagedSseEnabled"] is True
    assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert set(document.references(target["DeadLetterConfig"])) == {queue}
    assert set(document.references(invoke["DestinationConfig"]["OnFailure"])) == {queue}
    assert invoke["MaximumRetryAttempts"] > 0
    assert from_rule["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["StoppedExecutionRule", "Arn"]}}
    }
    assert senders_to(deployed, queue) == {f"{queue}Policy", "CloseCallbackRole"}


def test_the_outputs_name_every_resource_that_an_operator_needs(deployed: dict[str, Any]) -> None:
    """Including the dead-letter queues, which an operator has to read."""
    assert set(deployed["Outputs"]) == {
        "ApiUrl",
        "TableName",
        "StateMachineName",
        "UnclosedCallbacksUrl",
        "UnsettledCallbacksUrl",
        "MissedDeparturesUrl",
        "RefusedTriggersUrl",
        "UnsentDeliveriesUrl",
        "UnpublishedEventsUrl",
        "EventBusName",
    }


# -- client webhooks -----------------------------------------------------------------------------

TO_WEBHOOKS = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["WEBHOOK#*"]}}


@pytest.mark.parametrize(
    "role",
    [
        "PublishEventsRole",
        "NotifyClientRole",
        "ResumeDeliveriesRole",
        "WebhookApiRole",
    ],
)
def test_functions_that_contact_client_endpoints_may_access_webhook_rows_only(
    deployed: dict[str, Any], role: str
) -> None:
    touching = [
        statement
        for name, statement in document.statements(deployed)
        if name == role and statement.get("Resource") == {"Fn::GetAtt": ["CallbackTable", "Arn"]}
    ]

    assert [statement["Condition"] for statement in touching] == [TO_WEBHOOKS]


def test_the_webhook_worker_may_only_use_its_queue_its_rows_and_its_log(
    deployed: dict[str, Any],
) -> None:
    touched = {
        json.dumps(statement["Resource"])
        for name, statement in document.statements(deployed)
        if name == "NotifyClientRole" and "Resource" in statement
    }

    assert touched == {
        json.dumps({"Fn::GetAtt": [name, "Arn"]})
        for name in ("NotifyClientLogs", "CallbackTable", "DeliveryQueue")
    }


def test_every_write_of_a_callback_reaches_the_publisher(
    deployed: dict[str, Any], local: Template
) -> None:
    (table,) = of_type(deployed, "AWS::DynamoDB::Table").values()
    mapping = mapping_of(deployed, "PublishEvents")
    (source,) = local.stream_sources
    (publisher,) = [f for f in local.functions if f.logical_id == "PublishEvents"]

    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert source.function == publisher.name
    assert source.patterns == (
        {"eventName": ["INSERT", "MODIFY"], "dynamodb": {"Keys": {"sk": {"S": ["CALLBACK"]}}}},
    )
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert (mapping["BatchSize"], mapping["ParallelizationFactor"]) == (100, 10)
    # Without an end a write that cannot be published would hold up everybody's for a day.
    assert mapping["MaximumRecordAgeInSeconds"] == 3600
    assert set(document.references(mapping["DestinationConfig"])) == {"UnpublishedEvents"}
    assert senders_to(deployed, "UnpublishedEvents") == {"PublishEventsRole"}


def test_a_delivery_whose_worker_failed_is_retried_and_then_kept(
    deployed: dict[str, Any], local: Template
) -> None:
    queues = of_type(deployed, "AWS::SQS::Queue")
    queue, redrive = queues["DeliveryQueue"], queues["DeliveryQueue"]["RedrivePolicy"]
    mapping = mapping_of(deployed, "NotifyClient")
    (worker,) = [f for f in local.functions if f.logical_id == "NotifyClient"]

    assert mapping["BatchSize"] == 1  # nobody waits behind somebody else's endpoint
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert queue["VisibilityTimeout"] >= 6 * worker.timeout
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["UnsentDeliveries", "Arn"]}
    assert redrive["maxReceiveCount"] >= 5
    assert redrive["maxReceiveCount"] * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]
    assert senders_to(deployed, "UnsentDeliveries") == set()
    assert senders_to(deployed, "DeliveryQueue") == {
        "PublishEventsRole",
        "NotifyClientRole",
        "ResumeDeliveriesRole",
        "WebhookApiRole",
    }


def test_a_short_chain_of_messages_is_not_ended_and_a_long_one_cannot_arise(
    deployed: dict[str, Any],
) -> None:
    """AWS ends a chain of about 16 invocations unless the function allows it."""
    allowed = {
        name
        for name, function in of_type(deployed, "AWS::Lambda::Function").items()
        if function.get("RecursiveLoop") == "Allow"
    }

    assert allowed == {"NotifyClient", "UseDeparture"}
    assert deliveries.MOST_HOPS < 16


def test_the_worker_is_as_wide_as_the_parameter_says(deployed: dict[str, Any]) -> None:
    mapping = mapping_of(deployed, "NotifyClient")

    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "WebhookConcurrency"}}
    assert deployed["Parameters"]["WebhookConcurrency"]["Default"] >= 200


def test_an_index_has_what_waits_and_nothing_of_its_content(deployed: dict[str, Any]) -> None:
    (table,) = of_type(deployed, "AWS::DynamoDB::Table").values()
    (index,) = table["GlobalSecondaryIndexes"]

    assert [key["AttributeName"] for key in index["KeySchema"]] == ["due_in", "due_at"]
    assert (index["IndexName"], index["Projection"]["ProjectionType"]) == ("due", "KEYS_ONLY")


def test_a_breaker_is_looked_at_for_longer_than_anybody_may_still_be_parking(
    local: Template,
) -> None:
    timeouts = {function.logical_id: function.timeout for function in local.functions}
    longest = max(timeouts[name] for name in ("PublishEvents", "NotifyClient"))

    assert breakers.CLOSING.total_seconds() > longest + publishing.REMEMBERED.total_seconds() + 60


def test_an_endpoint_times_out_before_its_worker_and_the_worker_before_its_claim(
    local: Template,
) -> None:
    (worker,) = [f for f in local.functions if f.logical_id == "NotifyClient"]

    assert http_sender.SECONDS < worker.timeout < deliveries.LEASE.total_seconds()


@pytest.mark.parametrize(
    "queue",
    [
        "MissedDepartures",
        "RefusedTriggers",
        "UnclosedCallbacks",
        "UnpublishedEvents",
        "UnsentDeliveries",
        "UnsettledCallbacks",
    ],
)
def test_an_alarm_is_raised_for_a_dead_letter(deployed: dict[str, Any], queue: str) -> None:
    alarm = of_type(deployed, "AWS::CloudWatch::Alarm")[f"{queue}Alarm"]

    assert alarm["Namespace"] == "AWS/SQS"
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}
    ]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_an_alarm_is_raised_for_a_delivery_that_failed_permanently(
    deployed: dict[str, Any],
) -> None:
    listening = of_type(deployed, "AWS::Logs::MetricFilter")["DeliveriesFailed"]
    alarm = of_type(deployed, "AWS::CloudWatch::Alarm")["DeliveriesFailedAlarm"]
    (told,) = listening["MetricTransformations"]

    assert listening["LogGroupName"] == {"Ref": "NotifyClientLogs"}
    assert listening["FilterPattern"] == f'{{ $.message = "{notifying.FAILED}" }}'
    assert (told["MetricNamespace"], told["MetricName"]) == (
        alarm["Namespace"],
        alarm["MetricName"],
    )
    assert alarm["Threshold"] == 1


def test_every_alarm_goes_to_the_topic(deployed: dict[str, Any]) -> None:
    topic = {"Fn::If": ["AlarmTopicIsGiven", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    alarms = of_type(deployed, "AWS::CloudWatch::Alarm")

    assert {name for name, alarm in alarms.items() if alarm.get("AlarmActions") != topic} == set()
