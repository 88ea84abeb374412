"""A pytest plugin that makes moto's DynamoDB faster without changing its results.

Most of what this suite computes is moto (5.2.5) answering DynamoDB requests, and most of that is
repeated work: an item's size is measured for each of its attributes, maps and lists are copied to
be read, and each step of a request parses the expression again. The replacements here give the same
results and raise the same errors (tests/unit/test_quick_moto.py compares each replacement with the
original). A comment at each shortcut says why it is equivalent.
"""

import contextlib
import functools
import inspect
import json
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest import mock

from botocore import useragent
from moto.core.responses import ActionContext, ActionResult
from moto.dynamodb import models
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models import DynamoDBBackend, dynamo_type
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoResult
from moto.moto_api._internal.moto_random import MotoRandom

_LARGEST_ITEM = 405_000  # bytes, as in LimitedSizeDict
_EXPRESSIONS = 512  # cached expressions; the service has some dozens
_CLEAN = "sanitize_user_agent_string_component"
_SETS = {"SS": "S", "NS": "N", "BS": "B"}


def bytesize(value: Any) -> int:
    if isinstance(value, str) and value.isascii():
        return len(value)
    return len(value if isinstance(value, bytes) else value.encode("utf-8"))


def size(self: DynamoType) -> int:
    """Does not copy each member of a map."""
    kind, value = self.type, self.value
    if kind == "S":
        return bytesize(value)
    if kind == "N":
        return len(str(value))
    if kind in _SETS:
        return sum(size(DynamoType({_SETS[kind]: each})) for each in value)
    if kind == "L":
        return sum(size(each) for each in value)
    if kind == "M":
        return sum(bytesize(key) + size(_typed(each)) for key, each in value.items())
    return 1 if isinstance(value, bool) else bytesize(value)


def cast_value(self: DynamoType) -> Any:
    """Does not copy each member of a list or a map."""
    kind, value = self.type, self.value
    if kind == "S":
        return value
    if kind == "N":
        return Decimal(value)
    if kind in _SETS:
        return {cast_value(DynamoType({_SETS[kind]: each})) for each in value}
    if kind == "L":
        return [cast_value(_typed(each)) for each in value]
    if kind == "M":
        return {key: cast_value(_typed(each)) for key, each in value.items()}
    return None if kind == "NULL" else value


def _typed(value: Any) -> DynamoType:
    return value if type(value) is DynamoType else DynamoType(value)


def copy_of_type(self: DynamoType, _memo: Any = None) -> DynamoType:
    """Copies without a memo: an item has no cycles."""
    copied = DynamoType.__new__(DynamoType)
    copied.type, value = self.type, self.value
    if copied.type == "L":
        value = [copy_of_type(each) for each in value]
    elif copied.type == "M":
        value = {key: copy_of_type(each) for key, each in value.items()}
    elif copied.type in _SETS:
        value = list(value)
    copied.value = value
    return copied


def hash_of_type(self: DynamoType) -> int:
    if self.type == "S":
        return hash(("S", self.value))
    return hash((self.type, cast_value(self)))


def is_equal(self: DynamoType, other: DynamoType) -> bool:
    if self.type != other.type:
        return False
    if self.type == "S":
        return bool(self.value == other.value)
    return bool(cast_value(self) == cast_value(other))


def make_item(
    self: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]
) -> None:
    """Measures the size once: attributes only add to it, so the whole item is the largest."""
    self.hash_key, self.range_key = hash_key, range_key
    self.attrs = LimitedSizeDict()
    total = 0
    for key, value in attrs.items():
        typed = DynamoType(value)
        total += bytesize(key) + size(typed)
        dict.__setitem__(self.attrs, key, typed)
    if total > _LARGEST_ITEM:
        raise ItemSizeTooLarge


def random_string(
    self: MotoRandom, length: int = 20, include_digits: bool = True, lower_case: bool = False
) -> str:
    """Draws all 52 characters of a request's id at once; moto draws them one by one."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = "".join(self.choices(letters + "0123456789" * include_digits, k=length))
    return text.lower() if lower_case else text


def execute_result(self: DynamoResult, context: ActionContext) -> Any:
    """Writes a result as it is, without filtering it by the API's model.

    Clients drop members that are not in the model or have no value when they parse the result.
    """
    # A binary value, a timestamp or an error is not JSON: moto's own serializer writes it.
    with contextlib.suppress(TypeError):
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return 200, headers, json.dumps(self.result)
    return ActionResult.execute_result(self, context)


_transact = DynamoDBBackend.transact_write_items


def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Copies the table once, not for each item: all copies are made before the first write."""
    copies: dict[int, Any] = {}
    module = models.copy

    def deepcopy(value: Any, *memo: Any) -> Any:
        if not isinstance(value, Table):
            return module.deepcopy(value, *memo)
        if id(value) not in copies:
            copies[id(value)] = module.deepcopy(value, *memo)
        return copies[id(value)]

    with mock.patch.object(models, "copy", SimpleNamespace(copy=module.copy, deepcopy=deepcopy)):
        _transact(self, transact_items)


_lex = ConditionExpressionParser._lex_condition_expression
_kinds = DepthFirstTraverser.nodes_to_be_processed
_Tokens = deque["ConditionExpressionParser.Node"]


@functools.lru_cache(_EXPRESSIONS)
def _tokens(expression: str) -> _Tokens:
    return _lex(ConditionExpressionParser(expression, None, None))


def tokens(self: ConditionExpressionParser) -> _Tokens:
    """Tokenizes an expression once. The parser takes tokens off the queue and makes new ones; it
    changes none."""
    return deque(_tokens(self.condition_expression or ""))


@functools.cache
def _kinds_of(traverser: type[DepthFirstTraverser]) -> tuple[type, ...]:
    return tuple(_kinds(traverser.__new__(traverser)))


def kinds(self: DepthFirstTraverser) -> tuple[type, ...]:
    """Computed once per class, not at each node: the kinds depend on the class alone."""
    return _kinds_of(type(self))


# (where, name, by what)
REPLACED: list[tuple[Any, str, Any]] = [
    (dynamo_type, "bytesize", bytesize),
    (DynamoType, "size", size),
    (DynamoType, "cast_value", property(cast_value)),
    (DynamoType, "__hash__", hash_of_type),
    (DynamoType, "__eq__", is_equal),
    (DynamoType, "__deepcopy__", copy_of_type),
    (Item, "__init__", make_item),
    (DynamoResult, "execute_result", execute_result),
    (DynamoDBBackend, "transact_write_items", transact_write_items),
    (ConditionExpressionParser, "_lex_condition_expression", tokens),
    (DepthFirstTraverser, "nodes_to_be_processed", kinds),
    # moto copies an expression's tree before it changes it.
    (
        UpdateExpressionParser,
        "make",
        functools.lru_cache(_EXPRESSIONS)(UpdateExpressionParser.make),
    ),
    (MotoRandom, "get_random_string", random_string),
    # botocore calls it for each request and word; its result depends on the text alone.
    (useragent, _CLEAN, functools.lru_cache(_EXPRESSIONS)(getattr(useragent, _CLEAN))),
]
ORIGINALS = [(where, name, inspect.getattr_static(where, name)) for where, name, _ in REPLACED]


@contextlib.contextmanager
def replaced(parts: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Inside the block, for every client and server in this process."""
    with contextlib.ExitStack() as stack:
        for where, name, by in parts:
            stack.enter_context(mock.patch.object(where, name, by))
        yield


_exit = contextlib.ExitStack()


def pytest_configure() -> None:
    _exit.enter_context(replaced(REPLACED))


def pytest_unconfigure() -> None:
    _exit.close()
