"""Join the tables of a recipe, its classes and its variant, and apply settings to them."""

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
"""Recipe lists that later tables append to."""
_JOINED_BY_KEY = ("tasks", "packages")
_REPLACED_BY_KEY = ("functions", "sysroot_owner")


def join(layers: Iterable[tuple[str, Raw]]) -> tuple[Raw, dict[str, Setting]]:
    """Join tables; later tables override earlier ones.

    Return the joined table, and the variables with their origins. Lists such as dependencies,
    sources, patches, classes and `build` are appended to. Tasks and packages are joined key by key.
    Other values are replaced.
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
    """Return a task's or package's table, overridden by a later one."""
    table = old | new
    if "script" in new:
        table.pop("script_file", None)
    if "hosttools" in old and "hosttools" in new:
        table["hosttools"] = _added_up(old["hosttools"], new["hosttools"])
    return table


def _added_up(old: list[Any], new: list[Any]) -> list[Any]:
    return old + [item for item in new if item not in old]


def override(old: Setting | None, value: str, origin: str) -> Setting:
    """Return a setting that replaces another and remembers the replaced values."""
    if old is None:
        return Setting(value, origin)
    return Setting(value, origin, (*old.replaced, Setting(old.value, old.origin)))
