"""What comes in by the carrier's own doors is its word only if it signed it for that very door."""

from callback import http
from callback.carrier.credentials import CredentialStore
from callback.carrier.twilio.signature import Form, Shapes, genuine_form


def verified(
    event: http.Event, shapes: Shapes, public_url: str, credentials: CredentialStore
) -> Form:
    """The form of a request to us at `public_url`, by whatever name it came. Raises Forbidden."""
    return genuine_form(
        public_url + http.route_path(event),
        http.body(event),
        http.header(event, "x-twilio-signature"),
        credentials,
        shapes,
    )
