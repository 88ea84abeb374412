"""The types of an erasure that clients see. `views` makes it.

The OpenAPI document's schemas are generated from them. The text below a field is its description
there. Only that document imports this module at run time.
"""

from typing import Literal

from pydantic import with_config
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from callback.values import Count, Time, Uuid


@with_config(title="Erasure", extra="forbid", use_attribute_docstrings=True)
class ErasureView(TypedDict):
    erasure_id: Uuid
    status: Literal["erasing", "done"]
    number_hash: str | None
    """The number as a hash. Null: all numbers."""
    callbacks_erased: Count
    carrier_records_erased: Count
    requested_at: Time
    erased_at: Time | None
    """When everything was erased here."""
    finished_at: Time | None
    """When everything was erased at the carrier."""


@with_config(title="Erasures", extra="forbid")
class ErasuresView(TypedDict):
    erasures: list[ErasureView]
