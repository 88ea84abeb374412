"""What is in the layer that is deployed: built for Lambda's architecture and Python."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.session import Session

from tests.template import document
from tests.template.document import LAYER, source

ARCHITECTURE_OF_ELF = {"arm64": 183, "x86_64": 62}

# Every distribution that ships, and the package that is imported from it.
PACKAGES = {
    "annotated-types": "annotated_types",
    "aws-lambda-powertools": "aws_lambda_powertools",
    "boto3": "boto3",
    "botocore": "botocore",
    "certifi": "certifi",
    "charset-normalizer": "charset_normalizer",
    "idna": "idna",
    "jmespath": "jmespath",
    "phonenumbers": "phonenumbers",
    "pydantic": "pydantic",
    "pydantic-core": "pydantic_core",
    "pyjwt": "jwt",
    "python-dateutil": "dateutil",
    "requests": "requests",
    "s3transfer": "s3transfer",
    "six": "six.py",
    "twilio": "twilio",
    "typing-extensions": "typing_extensions.py",
    "typing-inspection": "typing_inspection",
    "tzdata": "tzdata",
    "urllib3": "urllib3",
}


_spec = importlib.util.spec_from_file_location("trim_botocore", LAYER / "trim_botocore.py")
assert _spec is not None
assert _spec.loader is not None
trim_botocore = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trim_botocore)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The layer's python folder, and what the build said."""
    into = tmp_path_factory.mktemp("layer")
    done = subprocess.run(
        [
            *("make", "--no-print-directory", "-C", str(LAYER), "build-SharedLayer"),
            *(f"ARTIFACTS_DIR={into}", f"PYTHON={sys.executable}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return into / "python", said


@pytest.fixture(scope="module")
def folder(layer: tuple[Path, str]) -> Path:
    return layer[0]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name.partition("[")[0]): version for name, version in pairs}


def shipped(folder: Path) -> dict[str, str]:
    """Name to version, by what metadata is left."""
    found = {}
    for metadata in folder.glob("*.dist-info/METADATA"):
        text = metadata.read_text(encoding="utf-8")
        name, version = (
            re.search(rf"^{key}: (.+)$", text, re.MULTILINE) for key in ("Name", "Version")
        )
        assert name is not None
        assert version is not None
        found[normal(name[1])] = version[1]
    return found


def interpreter(version: str) -> bool:
    """Whether `layers/compile.sh` can find a Python of that version."""
    asked = "import sys; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
    commands = ([sys.executable], [f"python{version}"], ["env", f"PYENV_VERSION={version}"])
    commands[2].append(f"python{version}")
    return any(
        shutil.which(command[0]) is not None
        and subprocess.run(
            [*command, "-c", asked, version], capture_output=True, check=False
        ).returncode
        == 0
        for command in commands
    )


def test_these_packages_ship_and_no_others(folder: Path) -> None:
    top = {path.name for path in folder.iterdir() if not path.name.endswith(".dist-info")}

    assert top - {"__pycache__"} == {*PACKAGES.values(), "callback"}
    assert set(shipped(folder)) == set(PACKAGES)


def test_they_have_the_pinned_versions(folder: Path) -> None:
    closure = pinned(LAYER / "constraints.txt")

    assert shipped(folder).items() <= closure.items()
    assert pinned(LAYER / "requirements.txt").items() <= closure.items()
    assert closure.items() <= pinned(LAYER.parents[1] / "tests" / "constraints.txt").items()


def test_our_own_package_is_complete(folder: Path) -> None:
    ours = {path.relative_to(LAYER) for path in (LAYER / "callback").rglob("*.py")}

    assert {path.relative_to(folder) for path in (folder / "callback").rglob("*.py")} == ours
    assert Path("callback/settings.py") in ours
    table = Path("callback/admission/prices.json")
    assert (folder / table).read_bytes() == (LAYER / table).read_bytes()


def test_documentation_does_not_ship(folder: Path) -> None:
    assert list((LAYER / "callback").rglob("*.md"))
    assert list((folder / "callback").rglob("*.md")) == []
    assert [path for path in (folder / "callback").rglob("*") if not any_file(path)] == []


def any_file(path: Path) -> bool:
    """Whether it is a file, or a folder with one in it."""
    return path.is_file() or any(each.is_file() for each in path.rglob("*"))


def test_of_twilio_and_aws_only_what_is_used_ships(folder: Path) -> None:
    def folders(path: str) -> set[str]:
        return {p.name for p in (folder / path).iterdir() if p.is_dir()} - {"__pycache__"}

    assert folders("twilio/rest") == {"api"}
    assert folders("twilio/rest/api/v2010/account") == {"call"}
    assert folders("botocore/data") == {"dynamodb", "events", "sqs", "ssm", "stepfunctions"}
    assert not (folder / "boto3/data").exists()
    assert "geodata" not in folders("phonenumbers")
    assert "shortdata" in folders("phonenumbers")  # emergency numbers
    assert "tzdata" in folders("phonenumbers")  # calling windows
    assert not [path for path in folder.rglob("tests") if path.is_dir()]


def snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def called() -> set[str]:
    """The name of every operation that our code calls, or passes on, of an AWS client."""
    every = {
        snake(operation)
        for service in trim_botocore.OPERATIONS
        for operation in Session().get_service_model(service).operation_names
    }
    sources = [*(LAYER / "callback").rglob("*.py"), *(document.ROOT / "functions").rglob("*.py")]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    assert len(nodes) > 10_000
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {each.attr for each in attributes if "client" in ast.unparse(each.value)} & every


def test_botocores_data_describes_the_operations_that_our_code_calls(folder: Path) -> None:
    listed = {snake(each) for kept in trim_botocore.OPERATIONS.values() for each in kept}

    assert called() == listed
    for service, kept in trim_botocore.OPERATIONS.items():
        (path,) = (folder / "botocore/data" / service).glob("*/service-2.json")
        assert set(json.loads(path.read_text("utf-8"))["operations"]) == kept


# One request of each service, and where and by which credentials' scope it would have gone.
_ASK = """
import json, re, sys
sys.path[:0] = sys.argv[1:]
import boto3
from botocore.config import Config
class Sent(Exception):
    pass
def refuse(request, **_):
    signed = request.headers["Authorization"].decode()
    scope = re.search(r"Credential=[^/]+/[0-9]+/([^,]+),", signed)
    raise Sent(request.url + " " + scope[1])
key = {"pk": {"S": "1"}}
ask = {
    "dynamodb": lambda client: client.get_item(TableName="t", Key=key),
    "events": lambda client: client.put_events(Entries=[{"Source": "s"}]),
    "sqs": lambda client: client.send_message(QueueUrl="https://sqs.invalid/q", MessageBody="b"),
    "ssm": lambda client: client.get_parameter(Name="n"),
    "stepfunctions": lambda client: client.send_task_success(taskToken="t", output="{}"),
}
answers = {}
for region in ("us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "xx-new-1"):
    for variant in ({}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}):
        for service, send in ask.items():
            client = boto3.client(service, region, aws_access_key_id="a",
                                  aws_secret_access_key="b", config=Config(**variant))
            client.meta.events.register("before-send", refuse)
            try:
                send(client)
            except Exception as refusal:
                answers[f"{service} {region} {variant}"] = f"{type(refusal).__name__} {refusal}"
print(json.dumps(answers))
"""


def test_requests_go_where_botocores_whole_data_sends_them(folder: Path) -> None:
    """In every partition, and in a region that the data does not know."""
    whole = Path(boto3.__file__).parents[1]
    trimmed, expected = (
        json.loads(
            subprocess.run(
                [sys.executable, "-B", "-I", "-S", "-c", _ASK, str(path)],
                env={"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for path in (folder, whole)
    )

    assert len(expected) == 75
    assert "https://dynamodb.cn-north-1.amazonaws.com.cn/" in " ".join(expected.values())
    assert trimmed == expected


def test_binaries_are_for_the_functions_architecture_and_python(folder: Path) -> None:
    declared = source()["Globals"]["Function"]
    (architecture,) = declared["Architectures"]
    tag = declared["Runtime"].replace("python", "cpython-").replace(".", "")
    binaries = list(folder.rglob("*.so*"))

    assert len(binaries) >= 2
    for path in binaries:
        machine = int.from_bytes(path.read_bytes()[18:20], "little")
        assert machine == ARCHITECTURE_OF_ELF[architecture], path
        assert tag in path.name or ".abi3." in path.name, path


def test_every_module_is_compiled_where_its_python_is_at_hand(layer: tuple[Path, str]) -> None:
    folder, said = layer
    modules = list(folder.rglob("*.py"))
    compiled = list(folder.rglob("*.pyc"))

    if interpreter("3.13"):
        assert "compiled for Python 3.13" in said
        assert {path.name for path in compiled} == {f"{p.stem}.cpython-313.pyc" for p in modules}
        assert len(compiled) == len(modules)
    else:
        assert "NOT COMPILED" in said
        assert compiled == []


def test_a_build_without_the_targets_python_says_so_and_ships_sources(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    compiler = LAYER.parent / "compile.sh"
    done = subprocess.run(
        ["bash", str(compiler), "3.99", str(tmp_path), "/opt"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "NOT COMPILED, no python3.99" in done.stdout
    assert list(tmp_path.rglob("*.pyc")) == []


def test_the_layer_stays_small(folder: Path) -> None:
    """Lambda unpacks 250 MB at most, and reads what it imports at each cold start."""
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    assert megabytes <= 30
