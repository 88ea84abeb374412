"""Change fields of a carrier's webhook event and sign it anew.

    python events/sign.py events/carrier_webhook/status.json CallStatus=no-answer CallDuration=0

Without fields it prints the form. The committed events are signed with TOKEN for the host in
their own requestContext, so a function under test needs that host as its PUBLIC_URL and
{"account_sid": ACCOUNT_SID, "auth_token": TOKEN} as its secret. Both are made up.
"""

import base64
import json
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from twilio.request_validator import RequestValidator

ACCOUNT_SID = "AC0123456789abcdef0123456789abcdef"
TOKEN = "12345678901234567890123456789012"  # noqa: S105 - made up, and meant to be known


def url_of(event: dict) -> str:
    """What the carrier was told to call."""
    return f"https://{event['requestContext']['domainName']}{event['rawPath']}"


def form_of(event: dict) -> dict[str, str]:
    return dict(parse_qsl(base64.b64decode(event["body"]).decode(), keep_blank_values=True))


def sign(event: dict, form: dict[str, str]) -> None:
    """Make `form` the event's body, as API Gateway encodes it, under the carrier's signature."""
    body = urlencode(form).encode()
    event["body"] = base64.b64encode(body).decode()
    event["headers"]["content-length"] = str(len(body))
    event["headers"]["x-twilio-signature"] = RequestValidator(TOKEN).compute_signature(
        url_of(event), form
    )


def main(path: Path, fields: list[str]) -> None:
    event = json.loads(path.read_text(encoding="utf-8"))
    form = form_of(event)
    if not fields:
        print("\n".join(f"{name}={value}" for name, value in form.items()))
        return
    sign(event, form | dict(field.split("=", 1) for field in fields))
    path.write_text(json.dumps(event, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
