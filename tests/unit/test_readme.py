"""What a README names is there, and what a reader looks for is named in it."""

import re
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

from callback import errors
from callback.policy import Policy

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    path: (ROOT / path).read_text(encoding="utf-8")
    for path in ("README.md", "tests/local/carrier/README.md")
}
README = DOCUMENTS["README.md"]


def without_code(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


CONTENT = without_code(README)


def named_in(*sections):
    """The words in code type in these sections, such as `code` and the field of `field=value`."""
    _, *parts = re.split(r"^## (.+)$", CONTENT, flags=re.MULTILINE)
    body = dict(zip(parts[::2], parts[1::2], strict=True))
    text = "".join(body[title] for title in sections)
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


def test_every_field_of_a_policy_is_explained():
    assert set(Policy.__dataclass_fields__) - named_in("Guards") == set()


def test_every_parameter_and_output_of_the_template_is_explained():
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    for section in ("Parameters", "Outputs"):
        assert len(template[section]) > 5
        assert set(template[section]) - named_in("Deploy") == set()


def test_every_function_and_every_module_has_its_place():
    functions = {path.name for path in (ROOT / "functions").iterdir() if path.is_dir()}
    modules = {path.stem for path in (ROOT / "layers/shared/callback").glob("[!_]*.py")}
    assert len(functions) > 10
    assert len(modules) > 50
    assert (functions | modules) - named_in("Change it") == set()
