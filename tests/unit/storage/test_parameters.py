"""Secrets of Parameter Store: how long they are kept, and what a failure leaves."""

from datetime import timedelta

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from callback import clock
from callback.storage.parameters import Parameters, ParameterUnreadable
from tests.support.build import NOON

NAME = "/voice-callback/secret"


@pytest.fixture
def ssm():
    with mock_aws():
        client = boto3.client("ssm", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        client.put_parameter(Name=NAME, Type="SecureString", Value="old")
        yield client
        client.close()


@pytest.fixture
def now(monkeypatch):
    """The wall clock. Set it with `now.append(...)`."""
    moments = [NOON]
    monkeypatch.setattr(clock, "now", lambda: moments[-1])
    return moments


def change(ssm):
    ssm.put_parameter(Name=NAME, Type="SecureString", Value="new", Overwrite=True)


@pytest.mark.parametrize(("seconds", "text"), [(0, "old"), (299, "old"), (300, "new")])
def test_a_value_is_at_most_five_minutes_old(ssm, now, seconds, text):
    parameters = Parameters(lambda: ssm)
    assert parameters.get(NAME) == "old"
    change(ssm)
    now.append(NOON + timedelta(seconds=seconds))
    assert parameters.get(NAME) == text


def test_a_forced_read_replaces_the_cached_value(ssm):
    parameters = Parameters(lambda: ssm)
    parameters.get(NAME)
    change(ssm)
    assert parameters.get(NAME, force_fetch=True) == "new"
    assert parameters.get(NAME) == "new"


def test_a_value_of_no_use_is_read_anew(ssm):
    parameters = Parameters(lambda: ssm)
    parameters.get(NAME)
    change(ssm)
    parameters.forget(NAME)
    assert parameters.get(NAME) == "new"


def test_a_cached_value_outlives_a_failure(ssm, now):
    parameters = Parameters(lambda: ssm)
    parameters.get(NAME)
    ssm.delete_parameter(Name=NAME)
    with pytest.raises(ParameterUnreadable, match="ParameterNotFound"):
        parameters.get(NAME, force_fetch=True)
    assert parameters.get(NAME) == "old"
    now.append(NOON + timedelta(seconds=300))
    with pytest.raises(ParameterUnreadable, match="ParameterNotFound"):
        parameters.get(NAME)


def test_a_store_that_cannot_be_reached_is_unreadable():
    client = boto3.client(
        "ssm",
        "us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        endpoint_url="http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ParameterUnreadable, match="EndpointConnectionError"):
        Parameters(lambda: client).get(NAME)
    client.close()


def test_the_client_is_not_created_before_it_is_needed():
    def never():
        raise AssertionError("created")

    Parameters(never)
