"""Every refusal, with its HTTP status and a stable code.

Only `http.dispatch` turns them into problem+json (RFC 9457).
"""

from typing import Any, Self


class CallbackError(Exception):
    """Base of every refusal that a client may see.

    `detail` is a sentence for a person. `members` are extra problem+json members, `headers` extra
    response headers. A member `callback_id` also sets the header Location.
    """

    status = 500
    code = "internal_error"
    title = "Internal error"

    def __init__(self, detail: str, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


# Limits on the size of an error response, so that it is not many times the size of the request: the
# number of fields listed, and the characters of a field's name.
MOST_ERRORS = 20
LONGEST_FIELD = 64


class InvalidRequest(CallbackError):
    """`errors` lists the wrong fields, at most MOST_ERRORS: [{"field", "code", "message"}]."""

    status = 400
    code = "invalid_request"
    title = "Invalid request"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        listed = [
            {**error, "field": error["field"][:LONGEST_FIELD]} for error in errors[:MOST_ERRORS]
        ]
        detail = "See errors for every field that is wrong."
        if len(listed) < len(errors):
            detail = (
                f"See errors for the first {MOST_ERRORS} of {len(errors)} fields that are wrong."
            )
        if len(errors) == 1 and not errors[0]["field"]:  # it concerns the request as a whole
            detail = errors[0]["message"]
        super().__init__(detail, errors=listed)

    @classmethod
    def of_field(cls, field: str, code: str, message: str) -> Self:
        """Only one field is wrong."""
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
    """The API key is valid but lacks `scope`."""

    status = 403
    code = "scope_missing"
    title = "The API key lacks the required scope"


class CallbackNotFound(CallbackError):
    status = 404
    code = "callback_not_found"
    title = "Callback not found"


class ErasureNotFound(CallbackError):
    status = 404
    code = "erasure_not_found"
    title = "Erasure not found"


class CallbackEnded(CallbackError):
    status = 409
    code = "callback_ended"
    title = "The callback has already ended"


class CallbackInProgress(CallbackError):
    """The same two parties have a live callback; `callback_id` is its id."""

    status = 409
    code = "callback_in_progress"
    title = "These two parties already have a live callback"


class WebhookEndpointNotFound(CallbackError):
    status = 404
    code = "webhook_endpoint_not_found"
    title = "No webhook endpoint is set"


class TooManyRotations(CallbackError):
    """Another rotation would drop a secret that the client may still be using."""

    status = 429
    code = "too_many_rotations"
    title = "Too many secret rotations"


class DeliveryNotFound(CallbackError):
    status = 404
    code = "delivery_not_found"
    title = "Failed delivery not found"


class InvalidIdempotencyKey(CallbackError):
    status = 400
    code = "invalid_idempotency_key"
    title = "Invalid Idempotency-Key"


class IdempotencyKeyMissing(CallbackError):
    status = 400
    code = "idempotency_key_missing"
    title = "An Idempotency-Key is required"


class RequestInProgress(CallbackError):
    """The first request with this key has no response yet."""

    status = 409
    code = "request_in_progress"
    title = "The first request with this Idempotency-Key is still in progress"


class IdempotencyKeyReused(CallbackError):
    status = 422
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for a different request"


class CarrierRejected(CallbackError):
    """The carrier refused a leg's create request; `carrier_code` is the carrier's error code."""

    status = 422
    code = "carrier_rejected"
    title = "The carrier refused the call"


class CarrierUnavailable(CallbackError):
    """The request certainly did not reach the carrier, or the carrier returned it unprocessed.

    A retry is safe. The workflow retries on this error by its class name.
    """

    status = 503
    code = "carrier_unavailable"
    title = "The carrier cannot be reached"


class CarrierBusy(CarrierUnavailable):
    """The carrier has required pauses for too long. The workflow gives up on this error by its
    class name."""


class CallingStopped(CallbackError):
    """The kill switch of all tenants, or of this tenant, is on."""

    status = 503
    code = "calling_stopped"
    title = "Calling is stopped"


class EmergencyNumber(CallbackError):
    status = 403
    code = "emergency_number"
    title = "Emergency numbers are never called back"


class NumberNotValid(CallbackError):
    """No numbering plan contains the number."""

    status = 403
    code = "number_not_valid"
    title = "The number does not exist"


class RegionNotAllowed(CallbackError):
    """`region` is the number's: ISO 3166, or 001 for no country, such as a satellite network."""

    status = 403
    code = "region_not_allowed"
    title = "Region not allowed"


class NumberTypeNotAllowed(CallbackError):
    """`number_type` is the number's type, such as premium_rate."""

    status = 403
    code = "number_type_not_allowed"
    title = "Number type not allowed"


class ExtensionTooLong(CallbackError):
    """The extension may be a telephone number, which the rules cannot check in this form."""

    status = 403
    code = "extension_too_long"
    title = "Extension too long"


class SipHostNotAllowed(CallbackError):
    status = 403
    code = "sip_host_not_allowed"
    title = "SIP host not allowed"


class OwnNumber(CallbackError):
    """A callback to one of the service's own numbers would call the service itself."""

    status = 403
    code = "own_number"
    title = "The number belongs to this service"


class CallerIdNotAllowed(CallbackError):
    status = 403
    code = "caller_id_not_allowed"
    title = "Caller ID not allowed"


class Suppressed(CallbackError):
    """The party asked not to be called."""

    status = 403
    code = "suppressed"
    title = "This party asked not to be called"


class OutsideCallingWindow(CallbackError):
    """`next_allowed_at`: when calling is allowed again (RFC 3339), or null if unknown."""

    status = 403
    code = "outside_calling_window"
    title = "Outside the calling window"


class TooManyCallsToNumber(CallbackError):
    status = 429
    code = "too_many_calls_to_number"
    title = "Too many calls to this number"


class TooManyCallsToPrefix(CallbackError):
    status = 429
    code = "too_many_calls_to_prefix"
    title = "Too many calls to numbers with this prefix"


class TooManyCallbacks(CallbackError):
    status = 429
    code = "too_many_callbacks"
    title = "Too many callbacks requested"


class TooManyAtOnce(CallbackError):
    status = 429
    code = "too_many_at_once"
    title = "Too many concurrent callbacks"


class NoDeparture(CallbackError):
    """The carrier's account has no departure now, and the request lets no callback wait."""

    status = 429
    code = "no_departure"
    title = "No call can be started now"


class TooManyWaiting(CallbackError):
    status = 429
    code = "too_many_waiting"
    title = "Too many waiting callbacks"


class SpendCapReached(CallbackError):
    """The callback's maximum cost exceeds the rest of the tenant's daily spend."""

    status = 403
    code = "spend_cap_reached"
    title = "Daily spend exceeded"


class StoreContended(CallbackError):
    """Too many concurrent writes to one row. Nothing was written, so a retry is safe."""

    status = 503
    code = "store_contended"
    title = "Too many concurrent writes"


class MissingSetting(Exception):
    """An environment variable that the template must set is absent."""
