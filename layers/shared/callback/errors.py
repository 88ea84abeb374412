"""What can be refused. Each error carries its HTTP status and a stable code.

`http.dispatch` is the one place that turns them into problem+json (RFC 9457).
"""

from typing import Any, Self


class CallbackError(Exception):
    """Base of every refusal a client may see.

    `detail` is a sentence for a person; `members` are extra problem+json members and
    `headers` extra response headers. A member `callback_id` also makes a Location.
    """

    status = 500
    code = "internal_error"
    title = "Something went wrong on our side"

    def __init__(self, detail: str, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


# An answer must not be many times what was sent: of the wrong fields so many are told, and so many
# characters of a name.
MOST_ERRORS = 20
LONGEST_FIELD = 64


class InvalidRequest(CallbackError):
    """`errors` names every wrong field, the first MOST_ERRORS: [{"field", "code", "message"}]."""

    status = 400
    code = "invalid_request"
    title = "The request is not valid"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        told = [
            {**error, "field": error["field"][:LONGEST_FIELD]} for error in errors[:MOST_ERRORS]
        ]
        detail = "See errors for every field that is wrong."
        if len(told) < len(errors):
            detail = (
                f"See errors for the first {MOST_ERRORS} of {len(errors)} fields that are wrong."
            )
        if len(errors) == 1 and not errors[0]["field"]:  # it concerns the request as a whole
            detail = errors[0]["message"]
        super().__init__(detail, errors=told)

    @classmethod
    def of_field(cls, field: str, code: str, message: str) -> Self:
        """One field is wrong, and nothing else."""
        return cls([{"field": field, "code": code, "message": message}])


class BodyNotJson(CallbackError):
    status = 400
    code = "body_not_json"
    title = "The body is not a JSON object"


class BodyNotUtf8(CallbackError):
    status = 400
    code = "body_not_utf8"
    title = "The body is not UTF-8"


class BodyTooLarge(CallbackError):
    status = 413
    code = "body_too_large"
    title = "The body is too large"


class Forbidden(CallbackError):
    status = 403
    code = "forbidden"
    title = "Not allowed"


class ScopeMissing(CallbackError):
    """The API key is right, but may not do this; `scope` is the one that it lacks."""

    status = 403
    code = "scope_missing"
    title = "This API key may not do that"


class CallbackNotFound(CallbackError):
    status = 404
    code = "callback_not_found"
    title = "No such callback"


class ErasureNotFound(CallbackError):
    status = 404
    code = "erasure_not_found"
    title = "No such erasure"


class CallbackEnded(CallbackError):
    status = 409
    code = "callback_ended"
    title = "The callback has already ended"


class CallbackInProgress(CallbackError):
    """The same two parties are being called already; `callback_id` is that callback's."""

    status = 409
    code = "callback_in_progress"
    title = "These two parties are being called already"


class WebhookEndpointNotFound(CallbackError):
    status = 404
    code = "webhook_endpoint_not_found"
    title = "There is no webhook endpoint"


class TooManyRotations(CallbackError):
    """One more, and a secret that the client may still be using would have to go."""

    status = 429
    code = "too_many_rotations"
    title = "The secret was rotated too often"


class DeliveryNotFound(CallbackError):
    status = 404
    code = "delivery_not_found"
    title = "No such failed delivery"


class InvalidIdempotencyKey(CallbackError):
    status = 400
    code = "invalid_idempotency_key"
    title = "The Idempotency-Key is not valid"


class IdempotencyKeyMissing(CallbackError):
    status = 400
    code = "idempotency_key_missing"
    title = "An Idempotency-Key is required"


class RequestInProgress(CallbackError):
    """The first request with this key has not been answered yet."""

    status = 409
    code = "request_in_progress"
    title = "The first request with this Idempotency-Key is still being answered"


class IdempotencyKeyReused(CallbackError):
    status = 422
    code = "idempotency_key_reused"
    title = "This Idempotency-Key came with another request before"


class CarrierRejected(CallbackError):
    """The carrier refused a leg at once; `carrier_code` is the carrier's own error code."""

    status = 422
    code = "carrier_rejected"
    title = "The carrier refused the call"


class CarrierUnavailable(CallbackError):
    """The request certainly did not reach the carrier, or was turned away untouched.

    Safe to send again: the workflow retries on this error by its class name.
    """

    status = 503
    code = "carrier_unavailable"
    title = "The carrier cannot be reached"


class CarrierBusy(CarrierUnavailable):
    """The carrier said when to ask again, and it is not yet time.

    The workflow retries on this error by its class name too.
    """


class CallingStopped(CallbackError):
    """The switch for everybody, or the tenant's own, is thrown."""

    status = 503
    code = "calling_stopped"
    title = "Calling is stopped"


class EmergencyNumber(CallbackError):
    status = 403
    code = "emergency_number"
    title = "Emergency numbers are never called back"


class NumberNotValid(CallbackError):
    """No numbering plan has such a number."""

    status = 403
    code = "number_not_valid"
    title = "There is no such number"


class RegionNotAllowed(CallbackError):
    """`region` is the number's (ISO 3166; 001: no country's, such as a satellite's)."""

    status = 403
    code = "region_not_allowed"
    title = "Numbers of this region may not be called"


class NumberTypeNotAllowed(CallbackError):
    """`number_type` is the number's, such as premium_rate."""

    status = 403
    code = "number_type_not_allowed"
    title = "Numbers of this type may not be called"


class ExtensionTooLong(CallbackError):
    """So many digits are rather a telephone number that nobody can judge."""

    status = 403
    code = "extension_too_long"
    title = "No extension is as long"


class SipHostNotAllowed(CallbackError):
    status = 403
    code = "sip_host_not_allowed"
    title = "This SIP host may not be called"


class OwnNumber(CallbackError):
    """A callback to a number of the service's own would come back to it."""

    status = 403
    code = "own_number"
    title = "This number is one of the service's own"


class CallerIdNotAllowed(CallbackError):
    status = 403
    code = "caller_id_not_allowed"
    title = "This caller ID may not be shown"


class Suppressed(CallbackError):
    """The party asked not to be called."""

    status = 403
    code = "suppressed"
    title = "This party asked not to be called"


class OutsideCallingWindow(CallbackError):
    """`next_allowed_at`: when it is allowed again (RFC 3339), null if that cannot be said."""

    status = 403
    code = "outside_calling_window"
    title = "It is not the time to call this party"


class TooManyCallsToNumber(CallbackError):
    status = 429
    code = "too_many_calls_to_number"
    title = "This number was called too often"


class TooManyCallsToPrefix(CallbackError):
    status = 429
    code = "too_many_calls_to_prefix"
    title = "Numbers like this one were called too often"


class TooManyCallbacks(CallbackError):
    status = 429
    code = "too_many_callbacks"
    title = "Too many callbacks were asked for"


class TooManyAtOnce(CallbackError):
    status = 429
    code = "too_many_at_once"
    title = "Too many callbacks are going on"


class SpendCapReached(CallbackError):
    """What the callback may cost at most does not fit into what is left of the tenant's day."""

    status = 403
    code = "spend_cap_reached"
    title = "The daily spend does not allow it"


class StoreContended(CallbackError):
    """Too many writers at once for one callback; nothing was written, so a retry is safe."""

    status = 503
    code = "store_contended"
    title = "Please try again"


class MissingSetting(Exception):
    """An environment variable that the template should have given is absent."""
