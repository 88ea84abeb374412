"""What an API key may do."""

from enum import StrEnum


class Scope(StrEnum):
    """What an API key may do."""

    READ = "callbacks:read"
    WRITE = "callbacks:write"
    ERASE = "callbacks:erase"
