"""Our signatures against Standard Webhooks 1.0.0: its published vector and its library."""

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from callback.webhooks import signature

# The specification's vector (standard-webhooks/standard-webhooks, spec, "Verifying").
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = '{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_vector_has_the_published_signature():
    assert signature.headers(MESSAGE_ID, BODY, AT, [SECRET]) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_a_secret_is_random_and_as_long_as_the_specification_requires():
    secrets = {signature.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize("body", ["{}", BODY, '{"name": "\u00e9\u4e2d"}'])
def test_each_of_two_secrets_verifies_alone_and_another_does_not(body: str):
    keys = [signature.new_secret() for _ in range(2)]
    headers = signature.headers("msg_1", body, datetime.now(UTC), keys)
    for key in keys:
        Webhook(key).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(signature.new_secret()).verify(body, headers)
