"""What a README names is there, and what a reader looks for is named in it."""

import re
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

from callback import admission, errors, sms_grammar, views
from callback.events import EventType
from callback.models import Callback, CallbackStatus, LegOutcome, LegStatus, Source
from callback.policy import Policy
from callback.schema import CallbackRequest, LegRequest
from callback.sms_grammar import Command
from callback.webhook_schema import WebhookRequest
from tests.local import template
from tests.template.document import TEMPLATE
from tests.unit.fields import full

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    path: (ROOT / path).read_text(encoding="utf-8")
    for path in ("README.md", "tests/local/carrier/README.md")
}
README = DOCUMENTS["README.md"]


def without_code(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


CONTENT = without_code(README)


# What each rule says no with, in their order.
REFUSED_BY = {
    admission.calling_is_not_stopped: [errors.CallingStopped],
    admission.nobody_is_emergency: [errors.EmergencyNumber],
    admission.sip_hosts_are_allowed: [errors.SipHostNotAllowed],
    admission.numbers_exist: [errors.NumberNotValid],
    admission.regions_are_allowed: [errors.RegionNotAllowed],
    admission.types_are_allowed: [errors.NumberTypeNotAllowed],
    admission.extensions_are_short: [errors.ExtensionTooLong],
    admission.its_webhook_can_be_signed: [errors.InvalidRequest],
    admission.nobody_is_us: [errors.OwnNumber],
    admission.caller_ids_are_the_tenants: [errors.CallerIdNotAllowed],
    admission.nobody_is_suppressed: [errors.Suppressed],
    admission.it_is_within_hours: [errors.OutsideCallingWindow],
    admission.limits_hold: [
        errors.TooManyAtOnce,
        errors.TooManyCallbacks,
        errors.TooManyCallsToNumber,
        errors.TooManyCallsToPrefix,
        errors.SpendCapReached,
    ],
}


def section(heading, readme=CONTENT):
    """What is under a heading of any level, until the next of its level or above."""
    level = re.match("#+", heading)[0]
    _, _, rest = readme.partition(f"\n{heading}")
    assert rest, heading
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading, first_column):
    """The rows, as lists of cells, of the table under a heading whose first column is called so."""
    table = section(heading).partition(f"\n| {first_column} |")[2].partition("\n\n")[0]
    _, _, *lines = table.splitlines()
    assert lines, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def named_in(*sections):
    """The words in code type in these sections, such as `code` and the field of `field=value`."""
    text = "".join(section(f"## {title}\n") for title in sections)
    return set(re.findall(r"`(\w+)(?:=[^`]*)?`", text))


def test_every_test_that_it_names_is_there():
    files = (ROOT / "tests").rglob("test_*.py")
    defined = {
        name
        for path in files
        for name in re.findall(r"^ *def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+…?)`", README))
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
    for row in rows("### What belongs to what", "to change or add"):
        touched = re.findall(r"`([^`]+)`", row[1])
        files = [layer / each for each in touched if re.fullmatch(r"[\w/]+\.py", each)]
        modules = [path for path in files if path.name != "handler.py"]
        assert [path.name for path in modules if not path.exists()] == []
        source = "".join(path.read_text(encoding="utf-8") for path in modules)
        named = {each for each in touched if each.isidentifier() and each != "ROUTES"}
        assert {name for name in named if not re.search(rf"\b{name}\b", source)} == set()


def test_every_link_within_and_between_them_leads_to_a_heading():
    def anchors(text):
        headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
        # As GitHub makes them: lower case, punctuation dropped, a hyphen for each space.
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    links = {
        (str((Path(path).parent / target) if target else path), anchor)
        for path, text in DOCUMENTS.items()
        for target, anchor in re.findall(r"\]\(((?!http)[^)#]*)#?([^)]*)\)", without_code(text))
    }
    assert len(links) > 15
    assert [target for target, _ in sorted(links) if not (ROOT / target).exists()] == []
    led = [(target, anchor) for target, anchor in sorted(links) if anchor]
    assert [(t, a) for t, a in led if t not in DOCUMENTS or a not in anchors(DOCUMENTS[t])] == []


def test_every_refusal_is_explained():
    def codes(kind):
        yield from (each.code for each in kind.__subclasses__() if "code" in vars(each))
        for each in kind.__subclasses__():
            yield from codes(each)

    told = set(codes(errors.CallbackError))
    assert len(told) > 30
    assert told - named_in("Use it: the API", "Guards") == set()


def test_every_refusal_is_told_with_its_status():
    kinds = {kind.code: kind for kind in errors.CallbackError.__subclasses__()}
    told = [(row[0], code) for row in rows("### Errors", "HTTP") for code in codes_in(row[1])]
    told += [(row[0], code) for row in rows("## Guards", "HTTP") for code in codes_in(row[1])]
    assert len(told) > 30
    assert [(status, code) for status, code in told if status != str(kinds[code].status)] == []


def codes_in(cell):
    """Not what stands in parentheses: what is said of a field."""
    return re.findall(r"`(\w+)`", cell.partition("(")[0])


def test_every_rule_is_in_the_table_of_guards_in_its_order():
    assert list(REFUSED_BY) == list(admission.RULES)
    said = re.findall(r"errors\.(\w+)", Path(admission.__file__).read_text(encoding="utf-8"))
    refused = [kind for kinds in REFUSED_BY.values() for kind in kinds]
    assert set(said) == {kind.__name__ for kind in refused}
    assert [codes_in(row[1])[0] for row in rows("## Guards", "HTTP")] == [k.code for k in refused]


def test_every_word_that_may_be_texted_is_explained():
    """Those of one row do the same."""
    texts = [re.findall(r"`([^`]+)`", row[0]) for row in rows("## Triggers", "text")]
    words = {text.split()[0] for row in texts for text in row}
    assert words == set(sms_grammar._WORDS)
    commands = [{sms_grammar.parse(text).command for text in row} for row in texts]
    assert [len(command) for command in commands] == [1] * len(texts)
    assert set().union(*commands) == set(Command) - {Command.UNKNOWN}


def test_every_field_of_a_request_is_explained():
    told = section("### `POST /voice/call/callback`")
    named = set(re.findall(r"`(?:leg_\w\.)?(\w+)`", told)) | set(re.findall(r'"(\w+)"', told))
    for model in (CallbackRequest, LegRequest, WebhookRequest):
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert fields - {"leg_A", "leg_B"} <= named, model


def test_every_field_of_the_record_is_in_its_example():
    example = section("### `GET /voice/call/callback/{callback_id}`", README)
    record = views.of(full(Callback))
    named = set(re.findall(r'"(\w+)":', example))
    assert named == {*record, *record["leg_A"]}


def test_every_word_of_a_record_is_explained():
    told = section("### `GET /voice/call/callback/{callback_id}`") + section("## Triggers\n")
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", told))))
    for words in (CallbackStatus, LegStatus, LegOutcome, Source):
        assert set(words) - named == set(), words


def test_every_event_is_explained():
    named = set(re.findall(r"`((?:callback|leg)\.\w+)`", section("## Client webhooks\n")))
    assert named == set(EventType)


def test_every_route_of_clients_is_explained():
    routes = [r for r in template.load(TEMPLATE).routes if r.authorization == "CUSTOM"]
    assert len(routes) > 10
    told = {re.sub(r"\{\w+\}", "{}", path) for path in re.findall(r"/[\w/{}.]+(?=[`?])", README)}
    assert [r.key for r in routes if re.sub(r"\{\w+\}", "{}", r.path) not in told] == []


def test_every_field_of_a_policy_is_explained():
    assert set(Policy.__dataclass_fields__) - named_in("Guards") == set()


def test_every_parameter_and_output_of_the_template_is_explained():
    source = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    for each in ("Parameters", "Outputs"):
        assert len(source[each]) > 5
        assert set(source[each]) - named_in("Deploy") == set()


def test_every_function_and_every_module_has_its_place():
    functions = {path.name for path in (ROOT / "functions").iterdir() if path.is_dir()}
    modules = {path.stem for path in (ROOT / "layers/shared/callback").rglob("[!_]*.py")}
    assert len(functions) > 10
    assert len(modules) > 50
    assert (functions | modules) - named_in("Change it") == set()
