"""Verify that the carrier sent a request, and that it signed the URL of this endpoint."""

from callback import http
from callback.carrier.credentials import CredentialStore
from callback.carrier.twilio.signature import Form, Shapes, genuine_form


def verified_form(
    event: http.Event, shapes: Shapes, public_url: str, credentials: CredentialStore
) -> Form:
    """The form of a request that the carrier signed for `public_url`. Raises Forbidden.

    The host name that the request came under does not matter.
    """
    return genuine_form(
        public_url + http.route_path(event),
        http.body(event),
        http.header(event, "x-twilio-signature"),
        credentials,
        shapes,
    )
