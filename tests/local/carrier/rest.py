"""The REST API: routes, authentication, faults, and what each request does.

Source: Twilio docs, voice/api and usage/requests-to-twilio.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from tests.local.clock import WORK_HEADER

from . import messages, parameters
from .calls import API_VERSION, Call, Source
from .conferences import Conference, JoinRefused, Participant
from .errors import (
    ApiError,
    bad_credentials,
    bad_username,
    no_credentials,
    not_found,
    not_in_progress,
    refusal,
)
from .exchange import Exchange
from .pages import page, within
from .recordings import wav, wav_size
from .resources import (
    account_json,
    call_json,
    caller_id_json,
    conference_json,
    incoming_number_json,
    message_json,
    participant_json,
    recording_json,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EMPTY: MultiDictProxy[str] = MultiDictProxy(MultiDict())
RETRY_AFTER = web.RequestKey("RETRY_AFTER", int)
BROKEN_BODY = '{"sid": "CA'


class Rest:
    """Twilio's 2010-04-01 API over one exchange."""

    def __init__(self, exchange: Exchange):
        self.exchange = exchange
        self.open_requests = 0

    def routes(self) -> list[web.RouteDef]:
        account = f"/{API_VERSION}/Accounts/{{account}}"
        calls, rooms = f"{account}/Calls", f"{account}/Conferences"
        people = rooms + "/{room}/Participants"
        table: list[tuple[str, str, Callable[..., Awaitable[Any]]]] = [
            ("GET", f"{account}.json", self.fetch_account),
            ("POST", f"{calls}.json", self.create_call),
            ("GET", f"{calls}.json", self.list_calls),
            ("GET", calls + "/{sid}.json", self.fetch_call),
            ("POST", calls + "/{sid}.json", self.update_call),
            ("DELETE", calls + "/{sid}.json", self.delete_call),
            ("GET", calls + "/{sid}/Recordings.json", self.list_recordings),
            ("GET", f"{rooms}.json", self.list_conferences),
            ("GET", rooms + "/{room}.json", self.fetch_conference),
            ("POST", rooms + "/{room}.json", self.update_conference),
            ("GET", rooms + "/{room}/Recordings.json", self.list_recordings),
            ("POST", f"{people}.json", self.create_participant),
            ("GET", f"{people}.json", self.list_participants),
            ("GET", people + "/{who}.json", self.fetch_participant),
            ("POST", people + "/{who}.json", self.update_participant),
            ("DELETE", people + "/{who}.json", self.kick_participant),
            ("GET", f"{account}/Recordings.json", self.list_recordings),
            ("GET", account + "/Recordings/{sid}.json", self.fetch_recording),
            ("DELETE", account + "/Recordings/{sid}.json", self.delete_recording),
            ("GET", account + "/Recordings/{sid}", self.fetch_sound),
            ("GET", account + "/Recordings/{sid}.wav", self.fetch_sound),
            ("GET", f"{account}/IncomingPhoneNumbers.json", self.list_numbers),
            ("GET", account + "/IncomingPhoneNumbers/{sid}.json", self.fetch_number),
            ("GET", f"{account}/OutgoingCallerIds.json", self.list_caller_ids),
            ("GET", account + "/OutgoingCallerIds/{sid}.json", self.fetch_caller_id),
            ("POST", f"{account}/Messages.json", self.create_message),
            ("GET", f"{account}/Messages.json", self.list_messages),
            ("GET", account + "/Messages/{sid}.json", self.fetch_message),
        ]
        known: dict[str, set[str]] = {}
        routes = []
        # Last: a recording's sound matches every path that the longer ones do not.
        for verb, path, work in sorted(table, key=lambda row: row[1].endswith("{sid}")):
            known.setdefault(path, set()).add(verb)
            routes.append(web.route(verb, path, self._answer(work)))
        routes.extend(
            web.route(verb, path, self._answer(self.not_allowed))
            for path, verbs in known.items()
            for verb in ("GET", "POST", "DELETE", "PUT", "PATCH")
            if verb not in verbs
        )
        routes.append(web.route("*", f"/{API_VERSION}/{{rest:.*}}", self._answer(self.nowhere)))
        return routes

    # -- the frame of every request ------------------------------------------------------------

    def _answer(self, work: Callable[..., Awaitable[Any]]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            began = time.monotonic()
            self.open_requests += 1
            try:
                form = await self._form(request)
                answer: Any
                fault, slow = self._fault(request, form)
                try:
                    self._authenticate(request)
                    self._limit()
                    if fault in ("429", "500-before", "503-before", "reset-before"):
                        answer = self._broken(request, fault)
                    else:
                        answer = await work(request, form)
                        if fault in ("500-after", "503-after", "reset-after", "broken-body"):
                            answer = self._broken(request, fault)
                except ApiError as error:
                    answer = error.status, error.body()
                if slow:
                    await self._wait(request, slow)
                return self._dress(request, answer, began)
            finally:
                self.open_requests -= 1

        return handler

    async def _wait(self, request: web.Request, seconds: float) -> None:
        """Wait virtual seconds, even if work holds the clock: the client is waiting."""
        clock = self.exchange.clock
        work = clock.take_over(request.headers.get(WORK_HEADER))
        with work.suspension() if work else clock.let_time_pass():
            await clock.sleep(seconds)

    async def _form(self, request: web.Request) -> MultiDictProxy[str]:
        if request.method in ("GET", "DELETE"):
            return MultiDictProxy(MultiDict(request.query))
        form = await request.post()
        return MultiDictProxy(MultiDict((k, v) for k, v in form.items() if isinstance(v, str)))

    def _fault(self, request: web.Request, form: MultiDictProxy[str]) -> tuple[str, float]:
        """The fault of this request, and the delay of its answer in seconds."""
        to = form.get("To", "")
        rule = self.exchange.faults.rest(f"{request.method} {request.path}", to)
        if rule:
            if rule.retry_after is not None:
                request[RETRY_AFTER] = rule.retry_after
            return ("", rule.seconds) if rule.fault == "slow" else (rule.fault, 0.0)
        creates = request.path.endswith(("/Calls.json", "/Participants.json"))
        if request.method == "POST" and creates and to:
            return self.exchange.scripts.behaviour(to).fault or "", 0.0
        return "", 0.0

    def _broken(self, request: web.Request, fault: str) -> web.Response:
        if fault == "429":
            raise refusal(20429)
        if fault.startswith("500"):
            raise refusal(20500)
        if fault.startswith("503"):
            raise refusal(20503)
        if fault == "broken-body":
            return web.Response(status=201, text=BROKEN_BODY, content_type="application/json")
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _authenticate(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        if not header.startswith("Basic "):
            raise no_credentials()
        try:
            user, _, password = base64.b64decode(header[6:]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise bad_credentials() from error
        exchange = self.exchange
        if not re.fullmatch(r"(AC|SK)[0-9a-fA-F]{32}", user):
            raise bad_username()
        known = exchange.api_keys | {exchange.account_sid: exchange.auth_token}
        if known.get(user) != password:
            raise bad_credentials()
        account = request.match_info.get("account")
        if account is not None and account != exchange.account_sid:
            raise not_found(request.path)

    def _limit(self) -> None:
        limit = self.exchange.settings.concurrent_requests
        if limit is not None and self.open_requests > limit:
            raise refusal(20429)

    def _dress(self, request: web.Request, answer: Any, began: float) -> web.StreamResponse:
        """Add Twilio's headers to a response, or to one made from (status, body)."""
        response: web.StreamResponse
        if isinstance(answer, tuple):
            status, body = answer
            # As bytes, so that no charset is added: Twilio's type is plain application/json.
            response = web.Response(
                body=json.dumps(body).encode(), status=status, content_type="application/json"
            )
        else:
            response = answer
        if response.prepared:
            return response
        headers: CIMultiDict[str] = response.headers
        if response.status == 429 and RETRY_AFTER in request:
            headers["Retry-After"] = str(request[RETRY_AFTER])
        headers["Twilio-Request-Id"] = self.exchange.new_sid("RQ")
        headers["Twilio-Request-Duration"] = f"{time.monotonic() - began:.3f}"
        headers["Twilio-Concurrent-Requests"] = str(self.open_requests)
        headers["X-Home-Region"] = "us1"
        headers["X-API-Domain"] = request.host
        headers["X-Shenanigans"] = "none"
        return response

    async def not_allowed(self, request: web.Request, _form: Any) -> Any:
        raise ApiError(405, 20004, f"Method {request.method} is not allowed on {request.path}")

    async def nowhere(self, request: web.Request, _form: Any) -> Any:
        raise not_found(request.path)

    # -- calls ---------------------------------------------------------------------------------

    async def fetch_account(self, _request: web.Request, _form: Any) -> Any:
        return 200, account_json(self.exchange)

    async def create_call(self, _request: web.Request, form: MultiDictProxy[str]) -> Any:
        to, from_ = parameters.parties(self.exchange, form)
        options = parameters.call_options(self.exchange, form)
        call = self.exchange.place(to, from_, options)
        return 201, call_json(self.exchange, call, fresh=True)

    def _call(self, request: web.Request) -> Call:
        call = self.exchange.calls.get(request.match_info["sid"])
        if call is None or call.deleted:
            raise not_found(request.path)
        return call

    async def fetch_call(self, request: web.Request, _form: Any) -> Any:
        return 200, call_json(self.exchange, self._call(request))

    async def list_calls(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        wanted = {
            name: query[name] for name in ("To", "From", "Status", "ParentCallSid") if name in query
        }
        matches = [
            call
            for call in reversed(self.exchange.calls.values())
            if not call.deleted
            and wanted.get("To", call.to) == call.to
            and wanted.get("From", call.from_) == call.from_
            and wanted.get("Status", call.status) == call.status
            and (
                "ParentCallSid" not in wanted
                or (call.parent is not None and call.parent.sid == wanted["ParentCallSid"])
            )
            and within(query, "StartTime", call.start_time)
            and within(query, "EndTime", call.end_time)
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key="calls",
            sid=lambda call: call.sid,
            render=lambda call: call_json(self.exchange, call),
        )

    async def update_call(self, request: web.Request, form: MultiDictProxy[str]) -> Any:
        call = self._call(request)
        status = form.get("Status", "")
        if status and status not in ("canceled", "completed"):
            raise parameters.bad(parameters.GENERAL, f"Invalid Status: {status}")
        limit = parameters.whole(form, "TimeLimit", 60, 86_400, None)
        callback = parameters.callback_url(form, "StatusCallback")
        moved = bool(form.get("Url") or form.get("Twiml"))
        if form.get("Url") and form.get("Twiml"):
            raise parameters.bad(21205, "Url and Twiml exclude each other")
        source = parameters.source(self.exchange, form) if moved else Source()
        if callback:
            call.options.status_callback = callback
            call.options.status_method = parameters.method(form, "StatusCallbackMethod")
        if status:
            self._end(call, status)
        elif moved:
            self._redirect(call, source)
        elif limit is not None:
            if call.status != "in-progress" or call.answered_at is None:
                raise not_in_progress()
            so_far = self.exchange.clock.seconds() - call.answered_at
            call.later("time limit", limit - so_far, call.finish, "completed")
        return 200, call_json(self.exchange, call)

    def _end(self, call: Call, status: str) -> None:
        if call.ended:
            raise not_in_progress()
        if call.status == "in-progress":
            if status == "completed":
                call.finish("completed")
            return  # canceled has no effect on a call in progress
        ending = "canceled"
        if status == "completed" and call.dialed:
            ending = self.exchange.settings.completed_while_ringing
        call.finish(ending)

    def _redirect(self, call: Call, source: Source) -> None:
        if call.status == "in-progress":
            call.redirect(source)
        elif not call.ended and self.exchange.settings.redirect_ringing == "accept":
            call.options.source = source
        else:
            raise not_in_progress()

    async def delete_call(self, request: web.Request, _form: Any) -> Any:
        call = self._call(request)
        complete = timedelta(seconds=self.exchange.settings.deletable_after)
        now = self.exchange.clock.now()
        if not call.ended or (call.end_time and now - call.end_time < complete):
            raise ApiError(400, 20009, "Cannot delete this resource before it is complete")
        call.deleted = True
        return web.Response(status=204)

    # -- conferences ---------------------------------------------------------------------------

    def _room(self, request: web.Request) -> Conference:
        room = self.exchange.conferences.get(request.match_info["room"])
        if room is None:
            raise not_found(request.path)
        return room

    async def list_conferences(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        status = query.get("Status")
        if status is None and self.exchange.settings.conference_list_default == "in-progress":
            status = "in-progress"
        matches = [
            room
            for room in reversed(self.exchange.conferences.values())
            if (status is None or room.status == status)
            and query.get("FriendlyName", room.name) == room.name
            and within(query, "DateCreated", room.created)
            and within(query, "DateUpdated", room.updated)
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key="conferences",
            sid=lambda room: room.sid,
            render=lambda room: conference_json(self.exchange, room),
        )

    async def fetch_conference(self, request: web.Request, _form: Any) -> Any:
        return 200, conference_json(self.exchange, self._room(request))

    async def update_conference(self, request: web.Request, form: MultiDictProxy[str]) -> Any:
        room = self._room(request)
        status = form.get("Status", "")
        if status and status != "completed":
            raise parameters.bad(parameters.GENERAL, f"Invalid Status: {status}")
        announce = parameters.url(form, "AnnounceUrl")
        how = parameters.method(form, "AnnounceMethod")
        if room.over and (status or announce):
            raise ApiError(404, 16022, "Conference does not exist or is completed")
        if announce:
            room.announce(announce, how)
        if status:
            room.end("conference-ended-via-api")
        return 200, conference_json(self.exchange, room)

    # -- participants --------------------------------------------------------------------------

    async def create_participant(self, request: web.Request, form: MultiDictProxy[str]) -> Any:
        exchange = self.exchange
        to, from_ = parameters.parties(exchange, form, twiml_needed=False)
        options, terms = parameters.participant_options(exchange, form)
        name = request.match_info["room"]
        known = exchange.conferences.get(name)
        if known is not None and known.over:
            raise ApiError(404, 16022, "Conference does not exist or is completed")
        if known is None and name.startswith("CF") and len(name) == 34:
            raise ApiError(404, 16003, "Could not recognize conference sid or friendly name")
        room = known or exchange.room(name)
        if terms.coach and terms.coach not in room.participants:
            exchange.drop_if_empty(room)
            raise parameters.bad(13240, "Dial->Conference: Invalid Whisper SID")
        if terms.label and room.find(terms.label):
            raise parameters.bad(16026, "Participant label is in use by another participant")
        try:
            call = exchange.place(
                to, from_, options, queued=exchange.settings.participants_share_queue
            )
        except ApiError:
            exchange.drop_if_empty(room)
            raise
        try:
            participant = room.expect(call, terms)
        except JoinRefused as refused:
            call.finish("canceled")
            raise parameters.bad(refused.code, refused.message) from refused
        body = participant_json(exchange, participant)
        body["queue_time"] = str(call.queue_time)
        return 201, body

    def _participant(self, request: web.Request) -> Participant:
        participant = (
            None
            if self._room(request).over
            else self._room(request).find(request.match_info["who"])
        )
        if participant is None:
            raise not_found(request.path)
        return participant

    async def list_participants(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        room = self._room(request)

        def fits(name: str, value: bool) -> bool:
            return name not in query or (query[name].lower() == "true") == value

        matches = [
            participant
            for participant in room.participants.values()
            if fits("Muted", participant.muted)
            and fits("Hold", participant.hold)
            and fits("Coaching", participant.coaching)
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key="participants",
            sid=lambda participant: participant.call.sid,
            render=lambda participant: participant_json(self.exchange, participant),
        )

    async def fetch_participant(self, request: web.Request, _form: Any) -> Any:
        return 200, participant_json(self.exchange, self._participant(request))

    async def update_participant(self, request: web.Request, form: MultiDictProxy[str]) -> Any:
        participant = self._participant(request)
        room = participant.conference
        hold_url, announce = (parameters.url(form, name) for name in ("HoldUrl", "AnnounceUrl"))
        hold_how = parameters.method(form, "HoldMethod", "GET")
        announce_how = parameters.method(form, "AnnounceMethod")
        if "Coaching" in form or "CallSidToCoach" in form:
            coached = form.get("CallSidToCoach", participant.coached)
            coaching = parameters.flag(form, "Coaching", default=bool(coached))
            if coaching and coached not in room.participants:
                raise parameters.bad(13240, "Dial->Conference: Invalid Whisper SID")
            participant.coaching = coaching
            participant.coached = coached if coaching else ""
            room.modify(participant)
        if "Muted" in form:
            room.mute(participant, form["Muted"].lower() == "true")
        if "Hold" in form:
            room.hold(participant, parameters.flag(form, "Hold"), hold_url, hold_how)
        if "EndConferenceOnExit" in form:
            participant.terms.end_on_exit = parameters.flag(form, "EndConferenceOnExit")
            room.modify(participant)
        if "BeepOnExit" in form:
            participant.terms.beep = "onExit" if parameters.flag(form, "BeepOnExit") else "false"
            room.modify(participant)
        if form.get("WaitUrl"):
            room.wait_at(
                participant,
                parameters.url(form, "WaitUrl"),
                parameters.method(form, "WaitMethod"),
            )
        if announce:
            room.announce(announce, announce_how, participant)
        return 200, participant_json(self.exchange, participant)

    async def kick_participant(self, request: web.Request, _form: Any) -> Any:
        participant = self._participant(request)
        if participant.connected:
            participant.conference.leave(participant, "participant_updated_via_api", kicked=True)
        else:
            participant.call.finish("canceled")
        return web.Response(status=204)

    # -- recordings ----------------------------------------------------------------------------

    async def list_recordings(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        call_sid = request.match_info.get("sid") or query.get("CallSid")
        room_sid = request.match_info.get("room") or query.get("ConferenceSid")
        matches = [
            recording
            for recording in reversed(self.exchange.recordings.by_sid.values())
            if (call_sid is None or recording.call_sid == call_sid)
            and (room_sid is None or recording.conference_sid == room_sid)
            and within(query, "DateCreated", recording.started)
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key="recordings",
            sid=lambda recording: recording.sid,
            render=lambda recording: recording_json(self.exchange, recording),
        )

    def _recording(self, request: web.Request) -> Any:
        recording = self.exchange.recordings.by_sid.get(request.match_info["sid"])
        if recording is None:
            raise not_found(request.path)
        return recording

    async def fetch_recording(self, request: web.Request, _form: Any) -> Any:
        return 200, recording_json(self.exchange, self._recording(request))

    async def delete_recording(self, request: web.Request, _form: Any) -> Any:
        recording = self._recording(request)
        if recording.status == "in-progress":
            raise ApiError(400, 20009, "Cannot delete this resource before it is complete")
        del self.exchange.recordings.by_sid[recording.sid]
        return web.Response(status=204)

    async def fetch_sound(self, request: web.Request, _form: Any) -> Any:
        recording = self._recording(request)
        if recording.status != "completed":
            raise not_found(request.path)
        channels = recording.terms.channels
        response = web.StreamResponse(headers={"Content-Type": "audio/x-wav"})
        response.content_length = wav_size(recording.seconds, channels)
        await response.prepare(request)
        for part in wav(recording.seconds, channels):
            await response.write(part)
        await response.write_eof()
        return response

    # -- numbers -------------------------------------------------------------------------------

    async def list_numbers(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        return self._numbers(request, query, True, "incoming_phone_numbers", incoming_number_json)

    async def list_caller_ids(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        return self._numbers(request, query, False, "outgoing_caller_ids", caller_id_json)

    def _numbers(
        self,
        request: web.Request,
        query: MultiDictProxy[str],
        owned: bool,
        key: str,
        render: Callable[..., dict[str, Any]],
    ) -> Any:
        matches = [
            number
            for number in self.exchange.numbers.values()
            if number.owned == owned
            and query.get("PhoneNumber", "").lstrip("+") in number.phone_number
            and query.get("FriendlyName", number.friendly_name) == number.friendly_name
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key=key,
            sid=lambda number: number.sid,
            render=lambda number: render(self.exchange, number),
        )

    def _number(self, request: web.Request, owned: bool) -> Any:
        for number in self.exchange.numbers.values():
            if number.sid == request.match_info["sid"] and number.owned == owned:
                return number
        raise not_found(request.path)

    async def fetch_number(self, request: web.Request, _form: Any) -> Any:
        return 200, incoming_number_json(self.exchange, self._number(request, True))

    async def fetch_caller_id(self, request: web.Request, _form: Any) -> Any:
        return 200, caller_id_json(self.exchange, self._number(request, False))

    # -- messages ------------------------------------------------------------------------------

    async def create_message(self, _request: web.Request, form: MultiDictProxy[str]) -> Any:
        exchange = self.exchange
        given = form.get("To", "").strip()
        if not given:
            raise parameters.bad(21604, "A 'To' phone number is required.")
        to = parameters.number(given)
        if to is None:
            raise parameters.bad(21211, f"The 'To' number {given} is not a valid phone number.")
        service = form.get("MessagingServiceSid", "").strip()
        sender = form.get("From", "").strip()
        if not sender and not service:
            raise parameters.bad(21603, "A 'From' phone number is required.")
        from_ = parameters.number(sender) or sender
        if sender and parameters.number(sender) and not exchange.may_show(from_):
            raise parameters.bad(
                21606,
                f"The 'From' phone number provided ({sender}) is not a valid message-capable "
                "Twilio phone number for this destination.",
            )
        body, media = form.get("Body", ""), tuple(form.getall("MediaUrl", []))
        if not body and not media:
            raise parameters.bad(21602, "Message body is required.")
        if len(body) > 1600:
            raise parameters.bad(
                21617, "The concatenated message body exceeds the 1600 character limit"
            )
        callback = parameters.callback_url(form, "StatusCallback")
        message = messages.new_message(
            exchange,
            to=to,
            from_=from_,
            body=body,
            direction="outbound-api",
            status="accepted" if service and not sender else "queued",
            status_callback=callback,
            messaging_service_sid=service or None,
            media=media,
        )
        messages.dispatch(exchange, message)
        return 201, message_json(exchange, message)

    async def list_messages(self, request: web.Request, query: MultiDictProxy[str]) -> Any:
        matches = [
            message
            for message in reversed(self.exchange.messages.values())
            if query.get("To", message.to) == message.to
            and query.get("From", message.from_) == message.from_
            and within(query, "DateSent", message.sent or message.created)
        ]
        return 200, page(
            matches,
            query,
            path=request.path,
            key="messages",
            sid=lambda message: message.sid,
            render=lambda message: message_json(self.exchange, message),
        )

    async def fetch_message(self, request: web.Request, _form: Any) -> Any:
        message = self.exchange.messages.get(request.match_info["sid"])
        if message is None:
            raise not_found(request.path)
        return 200, message_json(self.exchange, message)
