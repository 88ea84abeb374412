"""What the local stack is built from is what the template says, intrinsic functions resolved."""

import json
from pathlib import Path

import pytest

from tests.local import template

SOURCE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Address: {Type: String, Default: ""}
  Needed: {Type: String}
Conditions:
  AddressIsGiven: !Not [!Equals [!Ref Address, ""]]
  AddressIsMissing: !Equals [!Ref Address, ""]
Globals:
  Function:
    Runtime: python3.13
    Handler: handler.handler
    Layers: [!Ref Shared]
    Environment:
      Variables: {SERVICE: everybody}
Resources:
  Shared:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: ./layers/shared}
  Things:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
      SSESpecification: {SSEEnabled: true}
  Step:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub "${AWS::StackName}-step"
      CodeUri: functions/step
      Timeout: 20
      Environment:
        Variables:
          TABLE_NAME: !Ref Things
          ADDRESS: !If [AddressIsGiven, !Ref Address, !Sub "https://${Api}.${AWS::URLSuffix}"]
          MACHINE: !Join [":", [arn, !Ref AWS::Partition, states, !GetAtt Machine.Name]]
          OPTIONAL: !If [AddressIsGiven, given, !Ref AWS::NoValue]
          FLAG: true
  Unwanted:
    Type: AWS::Serverless::Function
    Condition: AddressIsGiven
    Properties: {CodeUri: functions/unwanted, Role: arn:aws:iam::1:role/r}
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      Name: !Sub "${AWS::StackName}-machine"
      DefinitionUri: machine.asl.yaml
      DefinitionSubstitutions: {StepFunction: !GetAtt Step.Arn}
      Role: arn:aws:iam::123456789012:role/r
  Ended:
    Type: AWS::Events::Rule
    Properties:
      EventPattern:
        source: [aws.states]
        detail: {stateMachineArn: [!Ref Machine]}
      Targets: [{Id: step, Arn: !GetAtt Step.Arn, DeadLetterConfig: {Arn: !GetAtt Other.Whatever}}]
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties: {Name: api, ProtocolType: HTTP}
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      ApiId: !Ref Api
      IntegrationType: AWS_PROXY
      IntegrationUri: !Sub "arn:aws:apigateway:x:lambda:path/functions/${Step.Arn}/invocations"
  Keeper:
    Type: AWS::ApiGatewayV2::Authorizer
    Properties:
      ApiId: !Ref Api
      Name: keeper
      AuthorizerType: REQUEST
      AuthorizerUri: !Sub "arn:aws:apigateway:x:lambda:path/functions/${Step.Arn}/invocations"
      AuthorizerPayloadFormatVersion: "2.0"
      EnableSimpleResponses: true
      IdentitySource: [$request.header.Authorization, $context.routeKey]
      AuthorizerResultTtlInSeconds: 7
  KeptRoute:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: GET /things
      AuthorizationType: CUSTOM
      AuthorizerId: !Ref Keeper
      Target: !Sub "integrations/${Integration}"
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: POST /things/{id}
      AuthorizationType: AWS_IAM
      Target: !Sub "integrations/${Integration}"
"""
MACHINE = """
StartAt: Step
States:
  Step: {Type: Task, Resource: "${StepFunction}", End: true}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text(SOURCE)
    (tmp_path / "machine.asl.yaml").write_text(MACHINE)
    return tmp_path / "template.yaml"


def test_a_function_has_its_variables_resolved(path):
    loaded = template.load(path, {"Needed": "x"})
    (step,) = loaded.functions
    assert step.environment == {
        "SERVICE": "everybody",
        "TABLE_NAME": "local-Things",
        "ADDRESS": f"https://{template.API_ID}.amazonaws.com",
        "MACHINE": "arn:aws:states:local-machine",
        "FLAG": "true",
    }
    assert (step.logical_id, step.name, step.timeout) == ("Step", "local-step", 20)
    assert step.folder == path.parent / "functions/step"
    assert step.layers == (path.parent / "layers/shared",)


def test_a_parameter_given_decides_conditions(path):
    loaded = template.load(path, {"Needed": "x", "Address": "http://127.0.0.1:1"})
    step, unwanted = loaded.functions
    assert step.environment["ADDRESS"] == "http://127.0.0.1:1"
    assert step.environment["OPTIONAL"] == "given"
    assert unwanted.logical_id == "Unwanted"


def test_a_state_machine_has_its_substitutions_made(path):
    (workflow,) = template.load(path, {"Needed": "x"}).workflows
    step = "arn:aws:lambda:us-east-1:123456789012:function:local-step"
    assert json.loads(workflow.definition)["States"]["Step"]["Resource"] == step
    assert workflow.arn == "arn:aws:states:us-east-1:123456789012:stateMachine:local-machine"


def test_routes_and_rules_name_their_function(path):
    loaded = template.load(path, {"Needed": "x"})
    _, route = loaded.routes
    assert (route.key, route.function) == ("POST /things/{id}", "local-step")
    assert route.authorization == "AWS_IAM"
    (rule,) = loaded.rules
    assert rule.pattern["detail"]["stateMachineArn"] == [loaded.workflows[0].arn]
    assert [target.function for target in rule.targets] == ["local-step"]


def test_a_route_knows_its_authorizer(path):
    kept, route = template.load(path, {"Needed": "x"}).routes
    assert (kept.authorization, kept.authorizer) == (
        "CUSTOM",
        template.Authorizer(
            function="local-step",
            identity_sources=("$request.header.Authorization", "$context.routeKey"),
            ttl=7,
        ),
    )
    assert route.authorizer is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("AuthorizerType: REQUEST", "AuthorizerType: JWT"), "AuthorizerType other than"),
        (("EnableSimpleResponses: true", "EnableSimpleResponses: false"), "EnableSimpleResponses"),
        (('FormatVersion: "2.0"', 'FormatVersion: "1.0"'), "AuthorizerPayloadFormatVersion"),
        (("$context.routeKey", "$request.querystring.key"), "identity source"),
    ],
)
def test_an_authorizer_that_is_not_run_locally_is_named(path, change, message):
    path.write_text(SOURCE.replace(*change))
    with pytest.raises(template.TemplateError, match=message):
        template.load(path, {"Needed": "x"})


def test_a_table_is_what_create_table_takes(path):
    loaded = template.load(path, {"Needed": "x"})
    (table,) = loaded.tables
    assert table == {
        "TableName": "local-Things",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    }
    assert loaded.time_to_live == {"local-Things": "expires_at"}


def test_a_parameter_nobody_declared_is_refused(path):
    with pytest.raises(template.TemplateError, match="no parameter Adress"):
        template.load(path, {"Needed": "x", "Adress": "y"})


def test_a_parameter_without_a_value_is_refused(path):
    with pytest.raises(template.TemplateError, match="parameter Needed has neither"):
        template.load(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("!Ref Nothing", "Nothing is neither a parameter nor a resource"),
        ("!GetAtt Step.Colour", r"Step\.Colour is not known"),
        ("!ImportValue other", "Fn::ImportValue is not resolved"),
    ],
)
def test_what_cannot_be_resolved_is_named(path, value, message):
    path.write_text(SOURCE.replace("FLAG: true", f"FLAG: {value}"))
    with pytest.raises(template.TemplateError, match=message):
        template.load(path, {"Needed": "x"})
