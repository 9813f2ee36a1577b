"""What the checks of a store report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "pack", "object", "ref", "run number", "build", "pool", "sysroot", "cache", "leftover", "store"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    kind: Kind
    where: str
    """A ref, an id, or a path below the store."""
    what: str
    needed_by: tuple[str, ...] = ()
    """Refs that hold it."""
    repair: str = ""
    """What `--repair` does about it."""
    harmless: bool = False
    """Nothing depends on it: a leftover, a cache."""
