"""The carrier's credentials, read from Parameter Store."""

import json

import boto3
import pytest
from moto import mock_aws

from callback.carrier.credentials import Credentials, CredentialStore
from callback.errors import CarrierUnavailable
from callback.storage.parameters import Parameters

NAME = "/voice-callback/carrier"
STORED = {"account_sid": "AC1", "auth_token": "a-secret"}


@pytest.fixture
def ssm():
    with mock_aws():
        client = boto3.client("ssm", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        yield client
        client.close()


def store_of(ssm) -> CredentialStore:
    return CredentialStore(NAME, Parameters(lambda: ssm))


def put(ssm, value: str) -> None:
    ssm.put_parameter(Name=NAME, Type="SecureString", Value=value, Overwrite=True)


def test_credentials_are_the_parameters_value(ssm):
    put(ssm, json.dumps(STORED))
    assert store_of(ssm).get() == Credentials("AC1", "a-secret")


def test_a_refetch_notices_a_rotation(ssm):
    put(ssm, json.dumps(STORED))
    store = store_of(ssm)
    store.get()
    put(ssm, json.dumps({**STORED, "auth_token": "another", "previous_auth_token": "a-secret"}))
    assert store.get().accepted_tokens == ("a-secret",)
    assert store.refetch().accepted_tokens == ("another", "a-secret")
    assert store.get().accepted_tokens == ("another", "a-secret")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "a-secret",
        '["AC1", "a-secret"]',
        '{"account_sid": "AC1"}',
        json.dumps({**STORED, "authtoken": "a-secret"}),
    ],
    ids=["no parameter", "no JSON", "a list", "no token", "an unknown field"],
)
@pytest.mark.parametrize("fetch", [CredentialStore.get, CredentialStore.refetch])
def test_the_carrier_is_unavailable_while_its_credentials_cannot_be_read(ssm, caplog, value, fetch):
    if value:
        put(ssm, value)
    with pytest.raises(CarrierUnavailable):
        fetch(store_of(ssm))
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.message == "the carrier's credentials cannot be read"
    assert "a-secret" not in str(vars(line))
