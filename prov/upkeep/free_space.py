"""The free space on a store's file system, and the limit below which no build starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prov.errors import BuildError, ProvError, RecipeError
from prov.recipes.checks import check
from prov.recipes.tables import StoreTable, given
from prov.text import parse_size, size_text


def free_space(folder: Path) -> int:
    """Return the bytes that this user can still write to a folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def check_free_space(folder: Path, settings: Mapping[str, Any], origin: str) -> None:
    """Raise BuildError if a store has less free space than `min_free` in prov.toml's `[store]`.

    Raises RecipeError for an invalid table.
    """
    table = check(settings.get("store", {}), StoreTable, f"{origin}: store")
    limit = given(table.min_free, "")
    if not limit:
        return
    try:
        least = parse_size(limit)
    except ProvError as error:
        raise RecipeError(f"{origin}: store.min_free: {error}", hint=error.hint) from error
    free = free_space(folder)
    if free < least:
        raise BuildError(
            f"{folder}: {size_text(free)} free, below the limit min_free = {limit} in {origin}",
            hint=f"free space on this file system, or run `prov gc --min-free {limit}`",
        )
