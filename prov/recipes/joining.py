"""Join the tables of a recipe, its classes and its variant, and the settings over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prov.recipes.recipe import Raw, Setting

_ADDED_UP = (
    "inherit",
    "depends",
    "depends_native",
    "rdepends",
    "provides",
    "patches",
    "build",
    "export",
    "sources",
)
"""Lists of a recipe that later tables add to."""
_JOINED_BY_KEY = ("tasks", "packages")
_REPLACED_BY_KEY = ("functions", "sysroot_owner")


def join(layers: Iterable[tuple[str, Raw]]) -> tuple[Raw, dict[str, Setting]]:
    """Join tables, later ones over earlier ones.

    Return the table, and its variables with their origins. Dependencies, sources, patches, classes
    and `build` add up; tasks and packages are joined key by key; all else is replaced.
    """
    joined: Raw = {}
    settings: dict[str, Setting] = {}
    for origin, table in layers:
        for key, value in table.items():
            if key == "variables":
                for name, text in value.items():
                    settings[name] = override(settings.get(name), text, origin)
            else:
                joined[key] = _joined_value(key, joined.get(key), value)
    return joined, settings


def _joined_value(key: str, old: Any, new: Any) -> Any:
    if key in _JOINED_BY_KEY:
        return _joined_tables(old or {}, new)
    if key in _REPLACED_BY_KEY:
        return (old or {}) | new
    if key in _ADDED_UP:
        return _added_up(old or [], new)
    return new


def _joined_tables(old: Raw, new: Raw) -> Raw:
    return old | {name: _joined_table(old.get(name, {}), table) for name, table in new.items()}


def _joined_table(old: Raw, new: Raw) -> Raw:
    """Return a task's or package's table with another over it."""
    table = old | new
    if "script" in new:
        table.pop("script_file", None)
    if "hosttools" in old and "hosttools" in new:
        table["hosttools"] = _added_up(old["hosttools"], new["hosttools"])
    return table


def _added_up(old: list[Any], new: list[Any]) -> list[Any]:
    return old + [item for item in new if item not in old]


def override(old: Setting | None, value: str, origin: str) -> Setting:
    """Return a setting that replaces another and remembers it."""
    if old is None:
        return Setting(value, origin)
    return Setting(value, origin, (*old.replaced, Setting(old.value, old.origin)))
