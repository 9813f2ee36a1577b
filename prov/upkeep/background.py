"""Maintain a store after a build: join packs and, if prov.toml enables it, delete old results.

The work runs in a detached process with low priority and a time limit. The next process does what
it could not finish, and a kill loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from prov.errors import ProvError
from prov.files import remove_tree, try_locked
from prov.processes import start_detached
from prov.store.joining import consolidate_all, large_packs
from prov.store.repository import Store
from prov.store.sweep import sweep
from prov.tasks.workdir import ASIDE
from prov.upkeep.collection import plan_gc, prune, remove_unlinked
from prov.upkeep.rules import Rules
from prov.worktree.pool import POOLS

SECONDS = 600
"""Time limit of the process."""
PATIENCE = 30.0
"""Seconds to wait for writing processes before unreachable objects are deleted."""
EVERY = 86_400.0
"""Seconds between two collections."""
POOL_AGE = 86_400.0
"""Seconds to keep an unlinked file of a pool."""


def start_upkeep(store: Store, rules: Rules | None) -> bool:
    """Start due work in the background, and return whether any was due.

    `rules` are the rules of a collection, None if builds do not collect.
    """
    due = rules is not None and _is_due(store)
    if not due and not large_packs(store.objects):
        return False
    start_detached(lambda: _run(store, rules if due else None))
    return True


def collect(store: Store, rules: Rules) -> None:
    """Delete refs by rules, then unreachable objects and unused pool files."""
    prune(store, plan_gc(store, rules))
    end = time.monotonic() + PATIENCE
    while sweep(store.objects).in_use and time.monotonic() < end:
        time.sleep(1.0)
    clear_pools(store)
    _mark(store).touch()


def clear_pools(store: Store) -> tuple[int, int]:
    """Delete pool files that have been unlinked for a day; return their number and bytes."""
    old = time.time() - POOL_AGE
    removed = [remove_unlinked(store.cache / name, older_than=old) for name in POOLS]
    return sum(count for count, _ in removed), sum(size for _, size in removed)


def clear_aside(builddir: Path) -> tuple[int, list[OSError]]:
    """Delete files that builds moved out of WORKDIRs.

    Returns the number of deleted files and folders, and the errors.
    """
    removed, errors = 0, []
    for path in sorted((builddir / ASIDE).glob("*/*")):
        try:
            remove_tree(path)
            removed += 1
        except OSError as error:
            errors.append(error)
    for folder in (*(builddir / ASIDE).glob("*"), builddir / ASIDE):
        with contextlib.suppress(OSError):  # not empty, or missing
            folder.rmdir()
    return removed, errors


def _mark(store: Store) -> Path:
    return store.cache / "collected"


def _is_due(store: Store) -> bool:
    try:
        return time.time() - _mark(store).stat().st_mtime > EVERY
    except FileNotFoundError:
        return True


def _run(store: Store, rules: Rules | None) -> None:
    signal.alarm(SECONDS)
    os.nice(10)
    store.objects.release()
    own = Store.open(store.path)
    with (
        contextlib.suppress(ProvError, OSError),
        try_locked(own.cache / "locks" / "upkeep") as alone,
    ):
        if alone:  # otherwise another process is at it
            consolidate_all(own.objects)
            if rules is not None:
                collect(own, rules)
