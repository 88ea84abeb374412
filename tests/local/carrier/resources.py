"""The JSON of each resource, as the 2010 API writes it: every scalar a string, or null.

Source: Twilio's OpenAPI description of api.v2010 (release 2.6.7) and published real answers.
"""

import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .calls import API_VERSION, Call
from .conferences import Conference, Participant
from .dates import rfc2822, rfc2822_or_none
from .messages import Message
from .recordings import Recording

if TYPE_CHECKING:
    from .exchange import Exchange, Number

CALL_SUBRESOURCES = (
    ("notifications", "Notifications"),
    ("recordings", "Recordings"),
    ("payments", "Payments"),
    ("events", "Events"),
    ("siprec", "Siprec"),
    ("streams", "Streams"),
    ("transcriptions", "Transcriptions"),
    ("user_defined_message_subscriptions", "UserDefinedMessageSubscriptions"),
    ("user_defined_messages", "UserDefinedMessages"),
)
# The price in dollars per minute, and the delay from a call's end until its price is known.
RATE = {"outbound-api": 0.0140, "outbound-dial": 0.0140, "inbound": 0.0085}
RATED_AFTER = timedelta(seconds=2)


def account_path(exchange: "Exchange") -> str:
    return f"/{API_VERSION}/Accounts/{exchange.account_sid}"


def formatted(address: str) -> str:
    """`+14158675309` -> `(415) 867-5309`; anything else as it is."""
    north_american = re.fullmatch(r"\+1(\d{3})(\d{3})(\d{4})", address)
    if not north_american:
        return address
    area, exchange, line = north_american.groups()
    return f"({area}) {exchange}-{line}"


def call_json(exchange: "Exchange", call: Call, *, fresh: bool = False) -> dict[str, Any]:
    """One call; `fresh` is the answer to its create, whose dates are null."""
    uri = f"{account_path(exchange)}/Calls/{call.sid}"
    number = exchange.numbers.get(call.to if call.direction == "inbound" else call.from_)
    return {
        "sid": call.sid,
        "date_created": None if fresh else rfc2822(call.created),
        "date_updated": None if fresh else rfc2822(call.updated),
        "parent_call_sid": call.parent.sid if call.parent else None,
        "account_sid": exchange.account_sid,
        "to": call.to,
        "to_formatted": formatted(call.to),
        "from": call.from_,
        "from_formatted": formatted(call.from_),
        "phone_number_sid": number.sid if number else None,
        "status": call.status,
        "start_time": rfc2822_or_none(call.start_time),
        "end_time": rfc2822_or_none(call.end_time),
        "duration": None if call.duration is None else str(call.duration),
        "price": _price(exchange, call),
        "price_unit": "USD",
        "direction": call.direction,
        "answered_by": call.answered_by,
        "annotation": None,
        "api_version": API_VERSION,
        "forwarded_from": None,
        "group_sid": None,
        "caller_name": None,
        "queue_time": str(call.queue_time),
        "trunk_sid": None,
        "uri": f"{uri}.json",
        "subresource_uris": {name: f"{uri}/{path}.json" for name, path in CALL_SUBRESOURCES},
    }


def _price(exchange: "Exchange", call: Call) -> str | None:
    if call.duration is None or call.end_time is None:
        return None
    if exchange.clock.now() < call.end_time + RATED_AFTER:
        return None
    return f"-{math.ceil(call.duration / 60) * RATE[call.direction]:.5f}"


def conference_json(exchange: "Exchange", room: Conference) -> dict[str, Any]:
    uri = f"{account_path(exchange)}/Conferences/{room.sid}"
    return {
        "account_sid": exchange.account_sid,
        "date_created": rfc2822(room.created),
        "date_updated": rfc2822(room.updated),
        "api_version": API_VERSION,
        "friendly_name": room.name,
        "region": room.region,
        "sid": room.sid,
        "status": room.status,
        "uri": f"{uri}.json",
        "subresource_uris": {
            "participants": f"{uri}/Participants.json",
            "recordings": f"{uri}/Recordings.json",
        },
        "reason_conference_ended": room.reason,
        "call_sid_ending_conference": room.ended_by,
    }


def participant_json(exchange: "Exchange", participant: Participant) -> dict[str, Any]:
    room, call = participant.conference, participant.call
    path = f"{account_path(exchange)}/Conferences/{room.sid}/Participants/{call.sid}"
    return {
        "account_sid": exchange.account_sid,
        "call_sid": call.sid,
        "label": participant.terms.label or None,
        "call_sid_to_coach": participant.coached or None,
        "coaching": participant.coaching,
        "conference_sid": room.sid,
        "date_created": rfc2822(participant.created),
        "date_updated": rfc2822(participant.updated),
        "end_conference_on_exit": participant.terms.end_on_exit,
        "muted": participant.muted,
        "hold": participant.hold,
        "start_conference_on_enter": participant.terms.start_on_enter,
        "status": participant.status,
        "queue_time": participant.queue_time,
        "uri": f"{path}.json",
    }


def recording_json(exchange: "Exchange", recording: Recording) -> dict[str, Any]:
    path = f"{account_path(exchange)}/Recordings/{recording.sid}"
    over = recording.status != "in-progress"
    return {
        "account_sid": recording.account_sid,
        "api_version": API_VERSION,
        "call_sid": recording.call_sid,
        "conference_sid": recording.conference_sid,
        "date_created": rfc2822(recording.started),
        "date_updated": rfc2822(recording.updated),
        "start_time": rfc2822(recording.started),
        "duration": str(recording.seconds) if over else None,
        "sid": recording.sid,
        "price": None,
        "price_unit": "USD",
        "status": recording.status,
        "channels": recording.terms.channels,
        "source": recording.source,
        "error_code": None,
        "uri": f"{path}.json",
        "encryption_details": None,
        "subresource_uris": {
            "add_on_results": f"{path}/AddOnResults.json",
            "transcriptions": f"{path}/Transcriptions.json",
        },
        "media_url": recording.url,
    }


def message_json(exchange: "Exchange", message: Message) -> dict[str, Any]:
    path = f"{account_path(exchange)}/Messages/{message.sid}"
    return {
        "body": message.body,
        "num_segments": str(message.segments),
        "direction": message.direction,
        "from": message.from_ or None,
        "to": message.to,
        "date_updated": rfc2822(message.updated),
        "price": None,
        "error_message": None,
        "uri": f"{path}.json",
        "account_sid": exchange.account_sid,
        "num_media": str(len(message.media)),
        "status": message.status,
        "messaging_service_sid": message.messaging_service_sid,
        "sid": message.sid,
        "date_sent": rfc2822_or_none(message.sent),
        "date_created": rfc2822(message.created),
        "error_code": None,
        "price_unit": "USD",
        "api_version": API_VERSION,
        "subresource_uris": {"media": f"{path}/Media.json"},
    }


def incoming_number_json(exchange: "Exchange", number: "Number") -> dict[str, Any]:
    return {
        "account_sid": exchange.account_sid,
        "address_sid": None,
        "address_requirements": "none",
        "api_version": API_VERSION,
        "beta": False,
        "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
        "date_created": rfc2822(number.created),
        "date_updated": rfc2822(number.created),
        "friendly_name": number.friendly_name,
        "identity_sid": None,
        "phone_number": number.phone_number,
        "origin": "twilio",
        "sid": number.sid,
        "sms_application_sid": None,
        "sms_fallback_method": number.sms_fallback_method,
        "sms_fallback_url": number.sms_fallback_url,
        "sms_method": number.sms_method,
        "sms_url": number.sms_url,
        "status_callback": number.status_callback,
        "status_callback_method": number.status_callback_method,
        "trunk_sid": None,
        "uri": f"{account_path(exchange)}/IncomingPhoneNumbers/{number.sid}.json",
        "voice_receive_mode": "voice",
        "voice_application_sid": None,
        "voice_caller_id_lookup": False,
        "voice_fallback_method": number.voice_fallback_method,
        "voice_fallback_url": number.voice_fallback_url,
        "voice_method": number.voice_method,
        "voice_url": number.voice_url,
        "emergency_status": "Inactive",
        "emergency_address_sid": None,
        "emergency_address_status": "unregistered",
        "bundle_sid": None,
        "status": "in-use",
        "type": "local",
    }


def caller_id_json(exchange: "Exchange", number: "Number") -> dict[str, Any]:
    return {
        "sid": number.sid,
        "date_created": rfc2822(number.created),
        "date_updated": rfc2822(number.created),
        "friendly_name": number.friendly_name,
        "account_sid": exchange.account_sid,
        "phone_number": number.phone_number,
        "uri": f"{account_path(exchange)}/OutgoingCallerIds/{number.sid}.json",
    }


def account_json(exchange: "Exchange") -> dict[str, Any]:
    path = account_path(exchange)
    created = rfc2822(exchange.clock.start)
    return {
        "auth_token": exchange.auth_token,
        "date_created": created,
        "date_updated": created,
        "friendly_name": "Simulated account",
        "owner_account_sid": exchange.account_sid,
        "sid": exchange.account_sid,
        "status": "active",
        "subresource_uris": {
            name: f"{path}/{part}.json"
            for name, part in (
                ("calls", "Calls"),
                ("conferences", "Conferences"),
                ("incoming_phone_numbers", "IncomingPhoneNumbers"),
                ("messages", "Messages"),
                ("outgoing_caller_ids", "OutgoingCallerIds"),
                ("recordings", "Recordings"),
            )
        },
        "type": "Trial" if exchange.settings.trial else "Full",
        "uri": f"{path}.json",
    }
