"""A problem found in a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "pack", "object", "ref", "run number", "build", "pool", "sysroot", "cache", "leftover", "store"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem found in a store."""

    kind: Kind
    where: str
    """A ref, an object id, or a path below the store."""
    what: str
    needed_by: tuple[str, ...] = ()
    """Refs that hold it."""
    repair: str = ""
    """What `--repair` does about it, in the imperative."""
    harmless: bool = False
    """Whether nothing depends on it, as with leftovers and caches."""
