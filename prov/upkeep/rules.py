"""The rules of a collection: `[gc]` in prov.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prov.recipes.checks import check
from prov.recipes.tables import GcTable, given
from prov.text import parse_size

DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept.

    Builds with a label or a pin, and of each task what was built last, are kept always.
    """

    builds: int = 20
    """The outputs of so many builds."""
    days: float = 30.0
    """Everything that is younger."""
    workdirs: int = 5
    """The WORKDIRs of so many builds, beyond what is young."""
    size: int | None = None
    """Bytes that the store's objects may take; the least recently used outputs are deleted first,
    young or not.
    """

    def young_from(self, now: float) -> float:
        """Return the time, in seconds since the epoch, from which on everything is kept."""
        return now - self.days * DAY


def rules_from(settings: Mapping[str, Any], origin: str) -> tuple[Rules, bool]:
    """Return the rules of prov.toml's `[gc]`, and whether builds collect by them.

    Raises RecipeError.
    """
    table = check(settings.get("gc", {}), GcTable, f"{origin}: gc")
    size = given(table.size, None)
    rules = Rules(
        builds=max(1, int(table.builds)),
        days=float(table.days),
        workdirs=int(table.workdirs),
        size=None if size is None else parse_size(size),
    )
    return rules, table.auto
