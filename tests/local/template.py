"""template.yaml, read as the deployment reads it, but offline.

aws-sam-translator turns the SAM resources into plain CloudFormation, exactly as the
service does at deploy time; the intrinsic functions that are left are resolved here for an
imaginary account. Everything that the local stack runs comes from this, so a variable, a route or a
lookup permission that the template lacks is missing locally as well.

Only values in use are resolved: a resource type that the local stack does not use may contain any
intrinsic function.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ACCOUNT = "123456789012"
REGION = "us-east-1"
STACK_NAME = "local"
API_ID = "localhttp1"

_NO_VALUE = object()
_PSEUDO_PARAMETERS: dict[str, Any] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": _NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK_NAME}/local",
    "AWS::StackName": STACK_NAME,
    "AWS::URLSuffix": "amazonaws.com",
}
# The property that names a resource, for the types whose names are looked up.
_NAME_PROPERTY = {
    "AWS::Lambda::Function": "FunctionName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Events::Rule": "Name",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Events::EventBus": "Name",
}
# Local folders travel through the translator, which only takes S3 addresses, in this bucket.
_LOCAL_BUCKET = "local"
_FUNCTION_IN_ARN = re.compile(r":function:([^/:]+)")


# The only kind of authorizer that runs locally, and its permitted identity sources.
_AUTHORIZER = {
    "AuthorizerType": "REQUEST",
    "AuthorizerPayloadFormatVersion": "2.0",
    "EnableSimpleResponses": True,
}
_IDENTITY_SOURCE = re.compile(r"\$request\.header\.[A-Za-z0-9-]+|\$context\.routeKey")
_RATE = re.compile(r"rate\(([1-9][0-9]*) (minute|hour|day)s?\)")
# What SQS takes where a queue says nothing (CloudFormation, AWS::SQS::Queue).
_VISIBILITY_SECONDS = 30
_SECONDS_IN = {"minute": 60, "hour": 3600, "day": 86_400}


def queue_url(name: str) -> str:
    """A queue's URL in AWS. Clients use it as a name, and send to their own endpoint."""
    return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"


class TemplateError(Exception):
    """The template says something that cannot be run locally; the message names it."""


@dataclass(frozen=True)
class FunctionDefinition:
    """A Lambda function. `layers` are source folders; `timeout` is seconds, `memory` is MB;
    `retries` are those after a failed asynchronous invocation; `log_level` is the least severe
    level of a function that logs JSON, None of one that logs text; `system_log_level` the same of
    Lambda's own lines; `is_traced`: whether X-Ray may trace it."""

    logical_id: str
    name: str
    folder: Path
    handler: str
    environment: dict[str, str]
    timeout: int
    memory: int
    retries: int
    log_level: str | None
    system_log_level: str
    is_traced: bool
    layers: tuple[Path, ...]

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


@dataclass(frozen=True)
class Authorizer:
    """A Lambda authorizer: the function's name, what its answers are remembered by, and for how
    many seconds (0: not at all)."""

    function: str
    identity_sources: tuple[str, ...]
    ttl: int


@dataclass(frozen=True)
class Route:
    """One route of the HTTP API: `method` (or ANY), `path` with {names}, the function's name.

    `authorizer` is given where `authorization` is CUSTOM."""

    method: str
    path: str
    function: str
    authorization: str
    authorizer: Authorizer | None = None

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Workflow:
    """A state machine; `definition` is its ASL as JSON text, substitutions made."""

    logical_id: str
    name: str
    definition: str
    type: Literal["STANDARD", "EXPRESS"]

    @property
    def arn(self) -> str:
        return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.name}"


@dataclass(frozen=True)
class RuleTarget:
    """A function invoked by a rule; `input` (JSON text) stands in for the event if given."""

    function: str
    input: str | None = None


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule on the default bus."""

    logical_id: str
    pattern: dict[str, Any]
    targets: tuple[RuleTarget, ...]


@dataclass(frozen=True)
class Schedule:
    """An EventBridge rule that fires by itself, every `seconds`."""

    logical_id: str
    seconds: int
    targets: tuple[RuleTarget, ...]


@dataclass(frozen=True)
class QueueSource:
    """A queue whose messages invoke a function, at most `batch_size` at once, in at most
    `concurrency` invocations at a time. `visibility` is seconds."""

    queue_url: str
    function: str
    batch_size: int
    concurrency: int = 1
    visibility: int = _VISIBILITY_SECONDS


@dataclass(frozen=True)
class StreamSource:
    """A table whose writes invoke a function, at most `batch_size` at once, those that one of
    the `patterns` matches."""

    table: str
    function: str
    batch_size: int
    patterns: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Template:
    """What the local stack is built from. `tables` are arguments of DynamoDB's CreateTable,
    `time_to_live` maps a table's name to the attribute that expires its items."""

    functions: tuple[FunctionDefinition, ...]
    routes: tuple[Route, ...]
    tables: tuple[dict[str, Any], ...]
    time_to_live: dict[str, str]
    workflows: tuple[Workflow, ...]
    rules: tuple[Rule, ...]
    schedules: tuple[Schedule, ...] = ()
    queues: tuple[str, ...] = ()
    queue_sources: tuple[QueueSource, ...] = ()
    stream_sources: tuple[StreamSource, ...] = ()
    event_buses: tuple[str, ...] = ()


def load(path: Path, parameters: Mapping[str, str] | None = None) -> Template:
    """Translate the template at `path` and resolve it with `parameters` over its defaults.

    Raises TemplateError for a parameter the template does not declare, a parameter without
    a value, or an intrinsic function that cannot be resolved locally; the translator's own
    InvalidDocumentException for a template that would not deploy.
    """
    source = yaml_parse(path.read_text(encoding="utf-8"))
    values = _parameter_values(source, parameters or {})
    return _Resolver(_translate(source, values), values, path.parent).template()


def _parameter_values(source: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    declared = source.get("Parameters", {})
    unknown = sorted(set(overrides) - set(declared))
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    values: dict[str, str] = {}
    for name, declaration in declared.items():
        if name in overrides:
            values[name] = overrides[name]
        elif "Default" in declaration:
            values[name] = str(declaration["Default"])
        else:
            raise TemplateError(f"parameter {name} has neither a value nor a default")
    return values


def _translate(source: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    sections = [source.get("Globals", {}).get("Function", {})]
    sections += [resource.get("Properties", {}) for resource in source["Resources"].values()]
    for section in sections:
        for key in ("CodeUri", "ContentUri", "DefinitionUri"):
            if isinstance(section.get(key), str):
                section[key] = f"s3://{_LOCAL_BUCKET}/{section[key].removeprefix('./')}"
    session = boto3.Session(region_name=REGION)
    translator = Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session)
    translated: dict[str, Any] = translator.translate(
        sam_template=source, parameter_values=dict(values)
    )
    return translated


class _Resolver:
    """CloudFormation's intrinsic functions over one translated template."""

    def __init__(self, document: dict[str, Any], values: dict[str, str], root: Path) -> None:
        self._document = document
        self._values = values
        self._root = root
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._reference,
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Sub": self._sub,
        }
        self._resources: dict[str, dict[str, Any]] = {
            logical_id: resource
            for logical_id, resource in document["Resources"].items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }

    def template(self) -> Template:
        integrations = {
            logical_id: self._function_named_in(properties["IntegrationUri"])
            for logical_id, properties in self._of_type("AWS::ApiGatewayV2::Integration")
        }
        authorizers = {
            logical_id: self._authorizer(logical_id, properties)
            for logical_id, properties in self._of_type("AWS::ApiGatewayV2::Authorizer")
        }
        return Template(
            functions=tuple(
                self._function(logical_id, properties)
                for logical_id, properties in self._of_type("AWS::Lambda::Function")
            ),
            routes=tuple(
                self._route(properties, integrations, authorizers)
                for _, properties in self._of_type("AWS::ApiGatewayV2::Route")
            ),
            tables=tuple(
                self._table(logical_id, properties)
                for logical_id, properties in self._of_type("AWS::DynamoDB::Table")
            ),
            time_to_live={
                self._name(logical_id): self._resolve(
                    properties["TimeToLiveSpecification"]["AttributeName"]
                )
                for logical_id, properties in self._of_type("AWS::DynamoDB::Table")
                if "TimeToLiveSpecification" in properties
            },
            workflows=tuple(
                self._workflow(logical_id, properties)
                for logical_id, properties in self._of_type("AWS::StepFunctions::StateMachine")
            ),
            rules=tuple(
                self._rule(logical_id, properties)
                for logical_id, properties in self._of_type("AWS::Events::Rule")
                if "EventPattern" in properties and properties.get("State") != "DISABLED"
            ),
            schedules=tuple(
                self._schedule(logical_id, properties)
                for logical_id, properties in self._of_type("AWS::Events::Rule")
                if "ScheduleExpression" in properties and properties.get("State") != "DISABLED"
            ),
            queues=tuple(self._name(queue) for queue, _ in self._of_type("AWS::SQS::Queue")),
            queue_sources=tuple(
                self._queue_source(properties) for properties in self._event_sources("sqs")
            ),
            stream_sources=tuple(
                self._stream_source(properties) for properties in self._event_sources("dynamodb")
            ),
            event_buses=tuple(self._name(bus) for bus, _ in self._of_type("AWS::Events::EventBus")),
        )

    def _event_sources(self, service: str) -> Iterator[dict[str, Any]]:
        for _, properties in self._of_type("AWS::Lambda::EventSourceMapping"):
            if self._resolve(properties["EventSourceArn"]).startswith(f"arn:aws:{service}:"):
                yield properties

    def _of_type(self, resource_type: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for logical_id, resource in self._resources.items():
            if resource["Type"] == resource_type:
                yield logical_id, resource.get("Properties", {})

    def _function(self, logical_id: str, properties: dict[str, Any]) -> FunctionDefinition:
        environment = self._resolve(properties.get("Environment", {}).get("Variables", {}))
        layers = [self._layer_folder(layer) for layer in properties.get("Layers", [])]
        logging = properties.get("LoggingConfig", {})
        return FunctionDefinition(
            logical_id=logical_id,
            name=self._name(logical_id),
            folder=self._root / self._resolve(properties["Code"])["S3Key"],
            handler=self._resolve(properties["Handler"]),
            environment={name: _as_text(value) for name, value in environment.items()},
            timeout=int(self._resolve(properties.get("Timeout", 3))),
            memory=int(self._resolve(properties.get("MemorySize", 128))),
            retries=self._retries(logical_id),
            log_level=(
                self._resolve(logging.get("ApplicationLogLevel", "INFO"))
                if logging.get("LogFormat") == "JSON"
                else None
            ),
            system_log_level=self._resolve(logging.get("SystemLogLevel", "INFO")),
            is_traced=self._resolve(properties.get("TracingConfig", {})) == {"Mode": "Active"},
            layers=tuple(folder for folder in layers if folder is not None),
        )

    def _retries(self, logical_id: str) -> int:
        for _, properties in self._of_type("AWS::Lambda::EventInvokeConfig"):
            if self._resolve(properties["FunctionName"]) == self._name(logical_id):
                return int(self._resolve(properties.get("MaximumRetryAttempts", 2)))
        return 2

    def _layer_folder(self, layer: Any) -> Path | None:
        """The source folder of a layer of this template; None for a layer from elsewhere."""
        if isinstance(layer, dict) and layer.get("Ref") in self._resources:
            content = self._resources[layer["Ref"]]["Properties"]["Content"]
            return self._root / str(self._resolve(content)["S3Key"])
        return None

    def _authorizer(self, logical_id: str, properties: dict[str, Any]) -> Authorizer:
        resolved = self._resolve(properties)
        for name, expected in _AUTHORIZER.items():
            if resolved.get(name) != expected:
                raise TemplateError(f"{logical_id}: {name} other than {expected} is not run")
        sources = tuple(resolved.get("IdentitySource", ()))
        for source in sources:
            if not _IDENTITY_SOURCE.fullmatch(source):
                raise TemplateError(f"{logical_id}: identity source {source} is not run locally")
        return Authorizer(
            function=self._function_named_in(properties["AuthorizerUri"]),
            identity_sources=sources,
            ttl=int(resolved.get("AuthorizerResultTtlInSeconds", 300)),
        )

    def _route(
        self,
        properties: dict[str, Any],
        integrations: dict[str, str],
        authorizers: dict[str, Authorizer],
    ) -> Route:
        method, _, path = self._resolve(properties["RouteKey"]).partition(" ")
        target = self._resolve(properties["Target"]).removeprefix("integrations/")
        return Route(
            method=method,
            path=path,
            function=integrations[target],
            authorization=self._resolve(properties.get("AuthorizationType", "NONE")),
            authorizer=(
                authorizers[self._resolve(properties["AuthorizerId"])]
                if "AuthorizerId" in properties
                else None
            ),
        )

    def _table(self, logical_id: str, properties: dict[str, Any]) -> dict[str, Any]:
        table: dict[str, Any] = {"TableName": self._name(logical_id)}
        for key in (
            "AttributeDefinitions",
            "KeySchema",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
        ):
            if key in properties:
                table[key] = self._resolve(properties[key])
        if "StreamSpecification" in properties:
            stream = self._resolve(properties["StreamSpecification"])
            table["StreamSpecification"] = {"StreamEnabled": True, **stream}
        return table

    def _workflow(self, logical_id: str, properties: dict[str, Any]) -> Workflow:
        substitutions = {
            name: _as_text(value)
            for name, value in self._resolve(properties.get("DefinitionSubstitutions", {})).items()
        }
        if "DefinitionS3Location" in properties:
            location = self._resolve(properties["DefinitionS3Location"])
            text = (self._root / location["Key"]).read_text(encoding="utf-8")
            definition = yaml_parse(text)
        else:
            definition = json.loads(self._resolve(properties["DefinitionString"]))
        return Workflow(
            logical_id=logical_id,
            name=self._name(logical_id),
            definition=json.dumps(_substituted(definition, substitutions)),
            type=self._resolve(properties.get("StateMachineType", "STANDARD")),
        )

    def _rule(self, logical_id: str, properties: dict[str, Any]) -> Rule:
        pattern = self._resolve(properties["EventPattern"])
        return Rule(logical_id, pattern, self._targets(logical_id, properties))

    def _schedule(self, logical_id: str, properties: dict[str, Any]) -> Schedule:
        expression = self._resolve(properties["ScheduleExpression"])
        rate = _RATE.fullmatch(expression)
        if rate is None:
            raise TemplateError(f"{logical_id}: {expression} is not run locally")
        seconds = int(rate[1]) * _SECONDS_IN[rate[2]]
        return Schedule(logical_id, seconds, self._targets(logical_id, properties))

    def _queue_source(self, properties: dict[str, Any]) -> QueueSource:
        queue = self._resolve(properties["EventSourceArn"]).rpartition(":")[2]
        (visibility,) = (
            int(self._resolve(properties.get("VisibilityTimeout", _VISIBILITY_SECONDS)))
            for logical_id, properties in self._of_type("AWS::SQS::Queue")
            if self._name(logical_id) == queue
        )
        return QueueSource(
            queue_url=queue_url(queue),
            visibility=visibility,
            function=self._resolve(properties["FunctionName"]),
            batch_size=int(self._resolve(properties.get("BatchSize", 10))),
            concurrency=int(
                self._resolve(properties.get("ScalingConfig", {}).get("MaximumConcurrency", 1))
            ),
        )

    def _stream_source(self, properties: dict[str, Any]) -> StreamSource:
        filters = self._resolve(properties.get("FilterCriteria", {})).get("Filters", [])
        return StreamSource(
            table=self._resolve(properties["EventSourceArn"]).split("/")[1],
            function=self._resolve(properties["FunctionName"]),
            batch_size=int(self._resolve(properties.get("BatchSize", 100))),
            patterns=tuple(json.loads(each["Pattern"]) for each in filters),
        )

    def _targets(self, logical_id: str, properties: dict[str, Any]) -> tuple[RuleTarget, ...]:
        targets = []
        for target in properties.get("Targets", []):
            for unsupported in ("InputPath", "InputTransformer"):
                if unsupported in target:
                    raise TemplateError(f"{logical_id}: {unsupported} is not run locally")
            targets.append(
                RuleTarget(
                    function=self._function_named_in(target["Arn"]),
                    input=self._resolve(target.get("Input")),
                )
            )
        return tuple(targets)

    def _function_named_in(self, uri: Any) -> str:
        resolved = self._resolve(uri)
        match = _FUNCTION_IN_ARN.search(resolved)
        if not match:
            raise TemplateError(f"{resolved} is not the address of a function")
        return match.group(1)

    # Physical names and attributes

    def _name(self, logical_id: str) -> str:
        resource = self._resources[logical_id]
        name_property = _NAME_PROPERTY.get(resource["Type"])
        name = resource.get("Properties", {}).get(name_property)
        return f"{STACK_NAME}-{logical_id}" if name is None else self._resolve(name)

    def _arn(self, logical_id: str) -> str:
        name = self._name(logical_id)
        prefixes = {
            "AWS::Lambda::Function": f"lambda:{REGION}:{ACCOUNT}:function:",
            "AWS::DynamoDB::Table": f"dynamodb:{REGION}:{ACCOUNT}:table/",
            "AWS::StepFunctions::StateMachine": f"states:{REGION}:{ACCOUNT}:stateMachine:",
            "AWS::IAM::Role": f"iam::{ACCOUNT}:role/",
            "AWS::Logs::LogGroup": f"logs:{REGION}:{ACCOUNT}:log-group:",
            "AWS::Events::Rule": f"events:{REGION}:{ACCOUNT}:rule/",
            "AWS::SQS::Queue": f"sqs:{REGION}:{ACCOUNT}:",
            "AWS::Events::EventBus": f"events:{REGION}:{ACCOUNT}:event-bus/",
        }
        resource_type = self._resources[logical_id]["Type"]
        if resource_type not in prefixes:
            raise TemplateError(f"the ARN of {logical_id} ({resource_type}) is not known locally")
        return f"arn:aws:{prefixes[resource_type]}{name}"

    def _reference(self, name: str) -> Any:
        for known in (_PSEUDO_PARAMETERS, self._values):
            if name in known:
                return known[name]
        if name not in self._resources:
            raise TemplateError(f"{name} is neither a parameter nor a resource")
        resource_type = self._resources[name]["Type"]
        if resource_type == "AWS::StepFunctions::StateMachine":
            return self._arn(name)
        if resource_type == "AWS::ApiGatewayV2::Api":
            return API_ID
        if resource_type == "AWS::SQS::Queue":
            return queue_url(self._name(name))
        return self._name(name) if resource_type in _NAME_PROPERTY else name

    def _attribute(self, logical_id: str, attribute: str) -> str:
        if logical_id not in self._resources:
            raise TemplateError(f"{logical_id} is not a resource")
        if attribute == "Arn":
            return self._arn(logical_id)
        if attribute == "StreamArn":
            return f"{self._arn(logical_id)}/stream/2026-11-24T00:00:00.000"
        if attribute == "Name":
            return self._name(logical_id)
        raise TemplateError(f"attribute {logical_id}.{attribute} is not known locally")

    # Intrinsic functions

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            resolved = [self._resolve(item) for item in value]
            return [item for item in resolved if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"{name} is not resolved locally")
        resolved_items = {key: self._resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved_items.items() if item is not _NO_VALUE}

    def _get_att(self, argument: str | list[str]) -> str:
        logical_id, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        return self._attribute(logical_id, attribute)

    def _join(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(_as_text(part) for part in self._resolve(parts))

    def _select(self, argument: list[Any]) -> Any:
        index, options = argument
        return self._resolve(options)[int(index)]

    def _split(self, argument: list[Any]) -> list[str]:
        separator, text = argument
        return str(self._resolve(text)).split(separator)

    def _if(self, argument: list[Any]) -> Any:
        condition, if_true, if_false = argument
        return self._resolve(if_true if self._condition(condition) else if_false)

    def _find_in_map(self, argument: list[Any]) -> Any:
        name, first, second = self._resolve(argument)
        return self._document["Mappings"][name][first][second]

    def _sub(self, argument: Any) -> str:
        text, variables = (argument, {}) if isinstance(argument, str) else argument

        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in variables:
                return _as_text(self._resolve(variables[name]))
            if "." in name:
                return self._attribute(*name.split(".", 1))
            return _as_text(self._reference(name))

        return re.sub(r"\$\{([^}]+)\}", value_of, text)

    def _condition(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._condition(self._document["Conditions"][condition])
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._condition(argument)
        if name == "Fn::Equals":
            left, right = self._resolve(argument)
            return _as_text(left) == _as_text(right)
        if name == "Fn::Not":
            return not self._condition(argument[0])
        if name == "Fn::And":
            return all(self._condition(part) for part in argument)
        if name == "Fn::Or":
            return any(self._condition(part) for part in argument)
        raise TemplateError(f"{name} is not a condition")


def _as_text(value: Any) -> str:
    """CloudFormation's string of a scalar: true and false in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _substituted(value: Any, substitutions: dict[str, str]) -> Any:
    """DefinitionSubstitutions: ${name} in any string of a state machine's definition."""
    if isinstance(value, dict):
        return {key: _substituted(item, substitutions) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, substitutions) for item in value]
    if isinstance(value, str):
        for name, text in substitutions.items():
            value = value.replace(f"${{{name}}}", text)
    return value
