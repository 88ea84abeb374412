"""A request's tenant and scopes are those that the authorizer reported."""

import pytest

from callback import http
from callback.errors import ScopeMissing
from callback.scopes import Scope


def request(route, *scopes):
    context = http.authorizer_context("acme", "key_1", scopes)
    return {"routeKey": route, "requestContext": {"authorizer": {"lambda": context}}}


@pytest.mark.parametrize(
    ("route", "needed"),
    [
        ("GET /voice/call/callback", Scope.READ),
        ("GET /voice/call/callback/{callback_id}", Scope.READ),
        ("POST /voice/call/callback", Scope.WRITE),
        ("DELETE /voice/call/callback/{callback_id}", Scope.WRITE),
    ],
)
def test_a_route_requires_its_scope_and_no_other(route, needed):
    assert http.tenant(request(route, needed)) == "acme"
    assert http.tenant(request(route, *Scope)) == "acme"
    for scopes in ([], [scope for scope in Scope if scope is not needed]):
        with pytest.raises(ScopeMissing) as refused:
            http.tenant(request(route, *scopes))
        assert refused.value.members == {"scope": needed}


def test_a_request_without_an_authorizer_has_no_tenant():
    with pytest.raises(KeyError):
        http.tenant({"routeKey": "GET /voice/call/callback", "requestContext": {}})
