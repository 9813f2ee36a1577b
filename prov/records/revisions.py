"""Find objects by the names that git gives them, as `git rev-parse` does.

The common names are found without a process: ids, abbreviated ids, and refs. Git finds all others,
such as `TAG^`, `COMMIT:PATH` and `HEAD`.
"""

from __future__ import annotations

import re

from prov.errors import StoreError
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.repository import Store

_ID = re.compile("[0-9a-f]{40}")
_SHORT_ID = re.compile("[0-9a-f]{4,39}")
_PLAIN = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\@-][^\x00-\x20\x7f~^:?*\[\\@]*")
"""A name without git's operators."""
_FOLDERS = ("refs/", "refs/tags/", "refs/heads/")
"""Where git looks for a ref, in this order (gitrevisions)."""


def find_object(store: Store, name: str) -> Oid | None:
    """Return the object with a name, None if there is none, or if several ids begin with it."""
    if _ID.fullmatch(name):
        oid = bytes.fromhex(name)
        return oid if store.objects.exists(oid) else None
    found = _find_ref(store, name) if _PLAIN.fullmatch(name) else None
    if found is not None:
        return found
    if _SHORT_ID.fullmatch(name):
        candidates = store.objects.beginning_with(name)
        return candidates[0] if len(candidates) == 1 else None
    return _ask_git(store, f"{name}^{{object}}")


def find_commit(store: Store, name: str) -> Oid | None:
    """Return the commit with a name, or that an annotated tag points to; None if there is none."""
    oid = find_object(store, name)
    kind = store.objects.header(oid)[0] if oid is not None else None
    if kind == "commit":
        return oid
    return _ask_git(store, f"{name}^{{commit}}") if kind == "tag" or kind is None else None


def _find_ref(store: Store, name: str) -> Oid | None:
    candidates = [f"{folder}{name}" for folder in _FOLDERS]
    if name.startswith("refs/"):
        candidates.insert(0, name)
    return next((oid for ref in candidates if (oid := store.refs.get(ref)) is not None), None)


def _ask_git(store: Store, expression: str) -> Oid | None:
    options = ["--verify", "--quiet", "--end-of-options"]
    try:
        answer = run_git(store.path, ["rev-parse", *options, expression])
    except StoreError:
        return None
    return bytes.fromhex(answer.decode().strip())
