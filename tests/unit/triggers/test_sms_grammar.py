"""Commands are recognized in any spelling, and each reply is one short sentence."""

from typing import get_args

import pytest

from callback import errors
from callback.carrier.reports import OptOut
from callback.carrier.twilio import events
from callback.lifecycle.models import CallbackStatus
from callback.triggers import sms, sms_grammar
from callback.triggers.sms_grammar import Command, Text, parse


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("STOP", Command.STOP),
        (" stop ", Command.STOP),
        ("Stop.", Command.STOP),
        ("StopAll", Command.STOP),
        ("stop all", Command.STOP),
        ("Unsubscribe", Command.STOP),
        ("END", Command.STOP),
        ("quit!", Command.STOP),
        ("REVOKE", Command.STOP),
        ("optout", Command.STOP),
        ("Stop calling me, please", Command.STOP),
        ('"STOP"', Command.STOP),
        ("start", Command.START),
        ("Unstop", Command.START),
        ("\nHELP\n", Command.HELP),
        ("info?", Command.HELP),
        ("call me", Command.CALL_ME),
        ("Call  Me!", Command.CALL_ME),
        ("\tCALL\nME ", Command.CALL_ME),
        ("cancel", Command.CANCEL),
        ("Status?", Command.STATUS),
        ("", Command.UNKNOWN),
        ("   ", Command.UNKNOWN),
        ("call", Command.UNKNOWN),
        ("+14155550123", Command.UNKNOWN),
        ("start the car", Command.UNKNOWN),
        ("help me out", Command.UNKNOWN),
        ("status of my order", Command.UNKNOWN),
        ("cancel my subscription", Command.UNKNOWN),
        ("yes", Command.UNKNOWN),
        ("stopping by later", Command.UNKNOWN),
        ("recall 415 555 0123", Command.UNKNOWN),
        ("ЅТОР", Command.UNKNOWN),
        ("👍", Command.UNKNOWN),
        ("x" * 1600, Command.UNKNOWN),
    ],
)
def test_a_command_is_recognized_in_any_case_and_with_punctuation_around_it(body, command):
    assert parse(body) == Text(command)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("CALL +14155550123", "+14155550123"),
        ("call(415) 555-0123", "(415) 555-0123"),
        ("Call+1 415.555.0123.", "+1 415.555.0123"),
        ("call\n4155550123 ", "4155550123"),
        ("CALL \u202a+1 415\u00a0555\u20110123\u202c", "+1 415\u00a0555\u20110123"),
        ("call me maybe", "me maybe"),
        ("call mum", "mum"),
    ],
)
def test_the_text_after_call_is_kept_as_it_is_written(body, number):
    assert parse(body) == Text(Command.CALL, number)


@pytest.mark.parametrize("word", ["STOP", "START", "HELP"])
def test_the_carriers_opt_out_field_overrides_the_text(word):
    assert parse_form("ARRET", word) == Text(Command[word], is_answered=True)
    assert parse_form("CALL ME", word) == Text(Command[word], is_answered=True)


def test_an_unknown_opt_out_field_is_ignored():
    assert parse_form("call me", "SOMETHING") == Text(Command.CALL_ME)


def test_every_opt_out_value_of_the_carrier_is_a_command():
    assert {Command(word) for word in get_args(OptOut)} < set(Command)


def parse_form(body, opt_out_type):
    form = {"MessageSid": "SM1", "Body": body, "OptOutType": opt_out_type}
    message = events.inbound_text(form)
    return parse(message.body, message.opt_out)


def test_every_command_has_an_implementation():
    assert set(sms._COMMANDS) == set(Command)


def test_every_status_has_a_sentence():
    assert set(sms_grammar.STATUS) == set(CallbackStatus)


def test_a_refusal_is_the_sentence_of_its_first_code_that_has_one():
    in_progress = sms_grammar.refusal("callback_in_progress")
    assert sms_grammar.refusal("too_short", "callback_in_progress") == in_progress
    assert sms_grammar.refusal("too_short") == sms_grammar.refusal() != in_progress


def test_every_refusal_with_a_sentence_is_a_code_of_ours():
    kinds = [*errors.CallbackError.__subclasses__()]
    fields = {"emergency_number", "same_party", "invalid_address"}
    assert set(sms_grammar._SENTENCES) <= {kind.code for kind in kinds} | fields


def test_every_sentence_fits_into_one_text_of_160_characters():
    sentences = [*sms_grammar.STATUS.values(), *sms_grammar._SENTENCES.values()]
    sentences += sms_grammar.HELP.values()
    assert all(len(sentence) <= 160 and sentence.isascii() for sentence in sentences)
