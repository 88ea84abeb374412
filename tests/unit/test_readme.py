"""Each README is short and easy to read, and what it names is what the code has."""

import os
import re
from pathlib import Path

import pytest
from annotated_types import Ge, Le
from samtranslator.yaml_helper import yaml_parse

from callback import errors
from callback.admission import rules
from callback.lifecycle.events import EventType
from callback.lifecycle.models import Callback, CallbackStatus, LegOutcome, LegStatus, Source
from callback.requests import idempotency, schema, views
from callback.requests.schema import CallbackRequest, LegRequest, ListRequest
from callback.storage import idempotency_keys
from callback.tenancy import policy_text
from callback.tenancy.policy import Policy
from callback.triggers import missed_call, sms, sms_grammar
from callback.triggers.sms_grammar import Command
from callback.webhooks import deliveries, http_sender
from callback.webhooks.schema import WebhookRequest
from tests.local import template
from tests.support.fields import full
from tests.template.document import TEMPLATE

ROOT = Path(__file__).parents[2]
FOLDERS = ("functions", "layers", "events", "tests")
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md")),
    ]
}
README = DOCUMENTS["README.md"]
FUNCTIONS = DOCUMENTS["functions/README.md"]
PACKAGE = DOCUMENTS["layers/shared/callback/README.md"]
API = DOCUMENTS["layers/shared/callback/api/README.md"]
TRIGGERS = DOCUMENTS["layers/shared/callback/triggers/README.md"]
WEBHOOKS = DOCUMENTS["layers/shared/callback/webhooks/README.md"]
ADMISSION = DOCUMENTS["layers/shared/callback/admission/README.md"]
PRIVACY = DOCUMENTS["layers/shared/callback/privacy/README.md"]

RECORD = "## `GET /voice/call/callback/{callback_id}`"


def without_code(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


# What each rule says no with, in their order.
REFUSED_BY = {
    rules.calling_is_not_stopped: [errors.CallingStopped],
    rules.no_emergency_number_is_called: [errors.EmergencyNumber],
    rules.sip_hosts_are_allowed: [errors.SipHostNotAllowed],
    rules.numbers_exist: [errors.NumberNotValid],
    rules.regions_are_allowed: [errors.RegionNotAllowed],
    rules.types_are_allowed: [errors.NumberTypeNotAllowed],
    rules.extensions_are_short: [errors.ExtensionTooLong],
    rules.webhook_can_be_signed: [errors.InvalidRequest],
    rules.no_own_number_is_called: [errors.OwnNumber],
    rules.caller_ids_are_allowed: [errors.CallerIdNotAllowed],
    rules.no_party_is_suppressed: [errors.Suppressed],
    rules.time_is_inside_window: [errors.OutsideCallingWindow],
    rules.limits_are_not_exceeded: [
        errors.TooManyAtOnce,
        errors.TooManyCallbacks,
        errors.TooManyCallsToNumber,
        errors.TooManyCallsToPrefix,
        errors.TooManyWaiting,  # instead of them, and of those that have no departure
        errors.SpendCapReached,
    ],
}


def section(heading, document):
    """What is under a heading of any level, until the next of its level or above."""
    level = re.match("#+", heading)[0]
    _, _, rest = document.partition(f"\n{heading}")
    assert rest, heading
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading, first_column, document):
    """The rows, as lists of cells, of the table under a heading whose first column is called so."""
    under = section(heading, without_code(document))
    table = under.partition(f"\n| {first_column} |")[2].partition("\n\n")[0]
    _, _, *lines = table.splitlines()
    assert lines, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def named_in(*texts):
    """The words in code type in these texts, such as `code` and the field of `field=value`."""
    return set(re.findall(r"`(\w+)(?:=[^`]*)?`", "".join(map(without_code, texts))))


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 320


def prose(text):
    """Lines that are neither code nor part of a table."""
    return [line for line in without_code(text).splitlines() if not line.startswith("|")]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_lines_of_prose_are_short_and_hold_one_sentence_each(path):
    lines = prose(DOCUMENTS[path])
    assert len(lines) > 10
    assert [line for line in lines if len(line) > 100] == []
    sentences = [re.sub(r"^ *\d\. ", "", line) for line in lines]
    assert [line for line in sentences if re.search(r"[\w)`*][.?!] +[A-Z`]", line)] == []


def test_every_test_that_they_name_is_there():
    files = (ROOT / "tests").rglob("test_*.py")
    defined = {
        name
        for path in files
        for name in re.findall(r"^ *def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    named = {name for text in DOCUMENTS.values() for name in re.findall(r"`(test_\w+…?)`", text)}
    assert len(named) > 50
    unknown = {
        name
        for name in named
        if not any(
            each.startswith(name[:-1]) if name.endswith("…") else each == name for each in defined
        )
    }
    assert unknown == set()


def test_every_file_of_ours_that_they_name_is_there():
    named = {
        name
        for text in DOCUMENTS.values()
        for name in re.findall(r"`((?:tests|functions|layers|events)/[\w./]+)`", text)
    }
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_whoever_changes_something_is_sent_to_what_is_there():
    """Files of the layer, and names in them."""
    layer = ROOT / "layers/shared/callback"
    for row in rows("## How to change it", "to change or add", PACKAGE):
        touched = re.findall(r"`([^`]+)`", row[1])
        files = [layer / each for each in touched if re.fullmatch(r"[\w/]+\.py", each)]
        modules = [path for path in files if path.name != "handler.py"]
        assert [path.name for path in modules if not path.exists()] == []
        source = "".join(path.read_text(encoding="utf-8") for path in modules)
        named = {each for each in touched if each.isidentifier() and each != "ROUTES"}
        assert {name for name in named if not re.search(rf"\b{name}\b", source)} == set()


def test_every_link_leads_to_a_file_and_to_a_heading_in_it():
    def anchors(text):
        headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
        # As GitHub makes them: lower case, punctuation dropped, a hyphen for each space.
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    links = {
        (os.path.normpath(Path(path).parent / target) if target else path, anchor)
        for path, text in DOCUMENTS.items()
        for target, anchor in re.findall(r"\]\(((?!http)[^)#]*)#?([^)]*)\)", without_code(text))
    }
    assert len(links) > 50
    assert [target for target, _ in sorted(links) if not (ROOT / target).exists()] == []
    led = [(target, anchor) for target, anchor in sorted(links) if anchor]
    assert len(led) > 30
    assert [(t, a) for t, a in led if t not in DOCUMENTS or a not in anchors(DOCUMENTS[t])] == []


def test_the_readme_leads_to_every_other():
    targets = re.findall(r"\]\(([^)#]+\.md)[)#]", section("## Where the rest is", README))
    assert set(targets) == set(DOCUMENTS) - {"README.md"}


def test_every_refusal_is_explained():
    def codes(kind):
        yield from (each.code for each in kind.__subclasses__() if "code" in vars(each))
        for each in kind.__subclasses__():
            yield from codes(each)

    told = set(codes(errors.CallbackError))
    assert len(told) > 30
    assert told - named_in(API, ADMISSION) == set()


def test_every_refusal_is_told_with_its_status():
    kinds = {kind.code: kind for kind in errors.CallbackError.__subclasses__()}
    told = [(row[0], code) for row in rows("## Errors", "HTTP", API) for code in codes_in(row[1])]
    told += [
        (row[0], code)
        for row in rows("## The rules", "HTTP", ADMISSION)
        for code in codes_in(row[1])
    ]
    assert len(told) > 30
    assert [(status, code) for status, code in told if status != str(kinds[code].status)] == []


def codes_in(cell):
    """Not what stands in parentheses: what is said of a field."""
    return re.findall(r"`(\w+)`", cell.partition("(")[0])


def test_every_rule_is_in_the_table_of_guards_in_its_order():
    assert list(REFUSED_BY) == list(rules.RULES)
    modules = Path(rules.__file__).parent.glob("*.py")
    said = re.findall(r"errors\.(\w+)", "".join(each.read_text("utf-8") for each in modules))
    refused = [kind for kinds in REFUSED_BY.values() for kind in kinds]
    assert set(said) == {kind.__name__ for kind in refused}
    assert [codes_in(row[1])[0] for row in rows("## The rules", "HTTP", ADMISSION)] == [
        k.code for k in refused
    ]


def test_every_word_that_may_be_texted_is_explained():
    """Those of one row do the same."""
    texts = [re.findall(r"`([^`]+)`", row[0]) for row in rows("## Texts", "text", TRIGGERS)]
    words = {text.split()[0] for row in texts for text in row}
    assert words == set(sms_grammar._WORDS)
    commands = [{sms_grammar.parse(text).command for text in row} for row in texts]
    assert [len(command) for command in commands] == [1] * len(texts)
    assert set().union(*commands) == set(Command) - {Command.UNKNOWN}


def test_every_field_of_a_request_is_explained():
    told = section("## `POST /voice/call/callback`", without_code(API))
    named = set(re.findall(r"`(?:leg_\w\.)?(\w+)`", told)) | set(re.findall(r'"(\w+)"', told))
    for model in (CallbackRequest, LegRequest, WebhookRequest):
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert fields - {"leg_A", "leg_B"} <= named, model


@pytest.mark.parametrize(
    ("heading", "document"), [(RECORD, API), ("## A request and its record", README)]
)
def test_every_field_of_the_record_is_in_its_example(heading, document):
    (example,) = re.findall(r"^```json\n(.*?)^```", section(heading, document), re.M | re.S)
    record = views.callback_view(full(Callback))
    named = set(re.findall(r'"(\w+)":', example))
    assert named == {*record, *record["leg_A"]}


def test_every_word_of_a_record_is_explained():
    told = section(RECORD, without_code(API)) + without_code(TRIGGERS)
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", told))))
    for words in (CallbackStatus, LegStatus, LegOutcome, Source):
        assert set(words) - named == set(), words


def test_every_event_is_explained():
    named = set(re.findall(r"`((?:callback|leg)\.\w+)`", without_code(WEBHOOKS)))
    assert named == set(EventType)


def test_every_route_of_clients_is_explained():
    routes = [r for r in template.load(TEMPLATE).routes if r.authorization == "CUSTOM"]
    assert len(routes) > 10
    texts = "".join([API, TRIGGERS, WEBHOOKS, PRIVACY])
    told = {re.sub(r"\{\w+\}", "{}", path) for path in re.findall(r"/[\w/{}.]+(?=[`?])", texts)}
    assert [r.key for r in routes if re.sub(r"\{\w+\}", "{}", r.path) not in told] == []


def test_every_field_of_a_policy_is_explained():
    assert set(Policy.__dataclass_fields__) - named_in(ADMISSION) == set()


def settings_in(cell):
    """(field, value) of each `field=value`, with or without quotes around both."""
    return re.findall(r'`"?(\w+)=([^`"]*)"?`', cell)


def test_the_defaults_of_each_rule_are_the_policys():
    told = [pair for row in rows("## The rules", "HTTP", ADMISSION) for pair in settings_in(row[3])]
    assert len(told) >= 10
    default = Policy()
    assert [(f, v) for f, v in told if policy_text.parse_field(f, v) != getattr(default, f)] == []


def test_what_a_new_tenant_may_do_is_every_default_and_how_to_change_it():
    box = rows("## What a new tenant may do by default", "may", README)
    assert dict(pair for row in box for pair in settings_in(row[1])) == policy_text.format_policy(
        Policy()
    )
    for _, default, change in box:
        [(field, _)], [(changed, text)] = settings_in(default), settings_in(change)
        assert changed == field
        assert policy_text.parse_field(field, text) != getattr(Policy(), field)


def test_the_limits_are_those_of_the_code():
    def bounds(model, field):
        about = model.model_fields[field]
        (least,) = [each.ge for each in about.metadata if isinstance(each, Ge)]
        (most,) = [each.le for each in about.metadata if isinstance(each, Le)]
        return least, most, about.default

    def pace(name):
        rate, burst = pace_of[name]["ThrottlingRateLimit"], pace_of[name]["ThrottlingBurstLimit"]
        return f"{rate} a second, burst {burst}"

    source = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))
    stage = source["Resources"]["HttpApiStage"]["Properties"]
    pace_of = {**stage["RouteSettings"], "default": stage["DefaultRouteSettings"]}
    key_characters = re.search(r"\{(\d+),(\d+)\}", idempotency._TEXT).groups()
    waits = sum(wait.total_seconds() for wait in deliveries.SCHEDULE)
    minutes = int(waits // 60)
    expected = {
        "creating a callback, all tenants": pace("POST /voice/call/callback"),
        "reading, and carrier webhooks, all tenants": pace("default"),
        "ring timeout": "{}–{} s, default {} s".format(*bounds(LegRequest, "ring_timeout_seconds")),
        "a callback waits for its start": "{}–{} s, default {} s".format(
            *bounds(CallbackRequest, "start_within_seconds")
        ),
        "conversation": "{}–{} s, default {} s".format(
            *bounds(CallbackRequest, "max_duration_seconds")
        ),
        "request body": f"{schema.MAX_BODY_BYTES // 1024} KB",
        "`metadata`": f"{schema.MAX_METADATA_BYTES // 1024} KB",
        "idempotency key": (
            "{}–{} characters, kept for ".format(*key_characters)
            + f"{idempotency_keys.LIFETIME.total_seconds() / 3600:.0f} hours"
        ),
        "page of a list": "{}–{} callbacks, default {}".format(*bounds(ListRequest, "limit")),
        "webhook response time": f"{http_sender.SECONDS:.0f} s",
        "webhook attempts": (f"{len(deliveries.SCHEDULE)} in {minutes // 60} h {minutes % 60} min"),
        "failed deliveries, kept for replay": f"{deliveries.LIFETIME.days} days",
        "texts processed per sender": f"{sms._TEXTS.count} an hour",
        "a number called back after a missed call": (
            f"once in {missed_call._EVERY.total_seconds() / 3600:.0f} hours"
        ),
        "a callback's record, kept": f"{source['Parameters']['RetentionDays']['Default']} days",
    }
    assert sms._TEXTS.seconds == 3600
    told = {row[0]: row[1] for row in rows("## Limits", "limit", README)}
    assert {limit: told[limit] for limit in expected} == expected
    # The carrier's own, and promises that scenarios hold.
    assert set(told) - set(expected) == {
        "calls that Twilio starts",
        "a new policy or kill switch takes effect within",
        "a revoked key is refused within",
    }


def test_what_the_gateway_answers_is_explained_where_keys_are():
    for about_keys in (section("## Authentication", API), section("## Quick start: a", README)):
        for status, message in ((401, "Unauthorized"), (403, "Forbidden")):
            assert re.search(rf"{status} .*`{{\"message\": \"{message}\"}}`", about_keys), status


def test_the_first_refusal_of_a_new_tenant_is_named_with_the_commands_that_fix_it():
    quick_start = section("## Quick start: a", README)
    assert errors.CallerIdNotAllowed.code in named_in(quick_start)
    assert "set-policy acme fallback_caller_id=" in quick_start
    assert "put-number acme +" in quick_start


def test_every_parameter_and_output_of_the_template_is_explained():
    source = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    for each in ("Parameters", "Outputs"):
        assert len(source[each]) > 5
        assert set(source[each]) - named_in(section("## Deploy\n", FUNCTIONS)) == set()


def test_every_function_has_its_place():
    functions = {path.name for path in (ROOT / "functions").iterdir() if path.is_dir()}
    assert len(functions) > 10
    assert functions - named_in(section("## The functions\n", FUNCTIONS)) == set()


def test_every_package_of_the_layer_and_each_of_its_modules_has_its_place():
    layer = ROOT / "layers/shared/callback"
    modules: dict[str, set[str]] = {}
    for path in layer.rglob("[!_]*.py"):
        package = path.parent.relative_to(layer).as_posix().strip(".")
        modules.setdefault(package, set()).add(path.stem)
    told: dict[str, set[str]] = {}
    for package, names, _ in rows("## Modules\n", "package", PACKAGE):
        told.setdefault(package.strip("`").removeprefix("(none)"), set()).update(named_in(names))
    assert len(told) > 10
    assert told == modules
