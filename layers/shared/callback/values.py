"""The types of values in responses and events: ids, times, counts.

Only the OpenAPI document imports this module at run time.
"""

from typing import Annotated

from pydantic import Field

Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]  # RFC 3339 UTC
Count = Annotated[int, Field(ge=0)]
Ordinal = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=0)]
NextCursor = Annotated[
    str | None, Field(description="Null on the last page. A short page may have one.")
]
