"""The retention rules: `[gc]` in prov.toml."""

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
    """Retention rules.

    Builds with a label or a pin, and the last result of each task, are always kept.
    """

    builds: int = 20
    """Keep the outputs of the last N builds."""
    days: float = 30.0
    """Keep everything newer than N days."""
    workdirs: int = 5
    """Keep the WORKDIRs of the last N builds, in addition to those kept by `days`."""
    size: int | None = None
    """Maximum size of the store's objects in bytes, or None.

    The least recently used outputs are deleted first, regardless of `days`.
    """
    min_free: int | None = None
    """Minimum free space on the file system in bytes, or None; room is made as for `size`."""

    def young_from(self, now: float) -> float:
        """Return the time, in seconds since the epoch, since which everything is kept."""
        return now - self.days * DAY


def rules_from(settings: Mapping[str, Any], origin: str) -> tuple[Rules, bool]:
    """Return the rules in prov.toml's `[gc]`, and whether builds collect automatically.

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
