"""Twilio's REST errors: code, HTTP status and the message seen on real answers.

Source: Twilio docs, api/errors; messages as published by people who met them.
"""

from typing import Any

MORE_INFO = "https://www.twilio.com/docs/errors/{code}"


class ApiError(Exception):
    """Ends a REST request with Twilio's error body.

    `status` is the HTTP status, `code` Twilio's error code, `detail` is left out unless given.
    """

    def __init__(self, status: int, code: int, message: str, *, detail: str | None = None):
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def body(self) -> dict[str, Any]:
        """The JSON body: {"code", "message", "more_info", "status"[, "detail"]}."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "more_info": MORE_INFO.format(code=self.code),
            "status": self.status,
        }
        if self.detail is not None:
            body["detail"] = self.detail
        return body


def bad_credentials() -> ApiError:
    return ApiError(
        401, 20003, "Authenticate", detail="Your AccountSid or AuthToken was incorrect."
    )


def no_credentials() -> ApiError:
    return ApiError(401, 20003, "Authentication Error - No credentials provided", detail="")


def bad_username() -> ApiError:
    return ApiError(401, 20003, "Authentication Error - invalid username", detail="")


def not_found(path: str) -> ApiError:
    return ApiError(404, 20404, f"The requested resource {path} was not found")


def not_in_progress() -> ApiError:
    return ApiError(400, 21220, "Call is not in-progress. Cannot redirect.")


GEO_PERMISSIONS = "https://www.twilio.com/console/voice/calls/geo-permissions/low-risk"

# The errors that may refuse a destination at create, by code: HTTP status and message, where
# {to} is the number as it was sent. Used by scripted destinations and the magic numbers.
REFUSALS: dict[int, tuple[int, str]] = {
    10004: (429, "Call concurrency limit exceeded"),
    13224: (400, "Dial: Twilio does not support calling this number or the number is invalid"),
    20003: (401, "Authenticate"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service Unavailable"),
    21205: (400, "Url is not a valid URL"),
    21210: (
        400,
        (
            "The source phone number provided, {from}, is not yet verified for your account. "
            "You may only make calls from phone numbers that you've verified or purchased from "
            "Twilio."
        ),
    ),
    21211: (400, "The phone number you are attempting to call, {to}, is not valid."),
    21212: (400, "From is not a valid phone number: {from}"),
    21214: (400, "The phone number you are attempting to call, {to}, cannot be reached."),
    21215: (
        400,
        (
            "Account not authorized to call {to}. Perhaps you need to enable some international "
            f"permissions: {GEO_PERMISSIONS}"
        ),
    ),
    21216: (400, "Account not allowed to call {to}"),
    21217: (400, "The phone number you are attempting to call, {to}, is not valid."),
    21219: (
        400,
        "The number {to} is unverified. Trial accounts may only make calls to verified numbers.",
    ),
    22005: (400, "Call Queue Full"),
}


def refusal(code: int, *, to: str = "", from_: str = "", status: int | None = None) -> ApiError:
    """The error a request is refused with; an unlisted code is a plain 400."""
    known_status, message = REFUSALS.get(code, (400, f"Request refused ({code})"))
    message = message.replace("{to}", to).replace("{from}", from_)
    return ApiError(status or known_status, code, message)
