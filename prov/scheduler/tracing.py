"""Choose the tasks of a build that run under strace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prov.errors import BuildError, NameUnknown, ProvError
from prov.recipes.graph import WORLD, Graph
from prov.records.ids import StaticKey
from prov.records.keys import TaskKey
from prov.text import nearest

if TYPE_CHECKING:
    from prov.reads.strace import Strace

_DIGITS = 8
"""The bytes of a static key that decide whether a task is in the sample."""


@dataclass(frozen=True, slots=True)
class TracedTasks:
    """The tasks of a build that run under strace, if they run."""

    strace: Strace | None = None
    keys: frozenset[TaskKey] = frozenset()
    """The tasks that the user named."""
    sample: float = 0.0
    """The fraction of all other tasks, from 0 to 1."""

    def strace_for(self, key: TaskKey, static_key: StaticKey) -> Strace | None:
        """Return the strace with which a task runs, or None."""
        if key in self.keys or is_sampled(static_key, self.sample):
            return self.strace
        return None


def is_sampled(static_key: StaticKey, sample: float) -> bool:
    """Return whether a task is in a sample of all tasks.

    The key decides, so that the choice is the same on every machine, and a changed task can be
    chosen if the former one was not.
    """
    return int.from_bytes(static_key[:_DIGITS]) < sample * (1 << 8 * _DIGITS)


def named_tasks(graph: Graph, names: Iterable[str]) -> frozenset[TaskKey]:
    """Return the tasks that `--trace` names: a task, all tasks of a recipe, or all (`world`).

    Raises NameUnknown.
    """
    keys: set[TaskKey] = set()
    for name in names:
        named = [key for key in graph.nodes if name in (key, key.recipe, WORLD)]
        if not named:
            recipes = {key.recipe for key in graph.nodes}
            raise NameUnknown(
                f"--trace {name}: the targets do not need {name}",
                hint=nearest(name, [*graph.nodes, *recipes]) or f"add {name} to the targets",
            )
        keys.update(named)
    return frozenset(keys)


def traced_tasks(
    keys: frozenset[TaskKey],
    settings: Mapping[str, Any],
    *,
    sandbox: str | None,
    search_path: str,
    note: Callable[[str], object],
) -> TracedTasks:
    """Return the tasks to trace: named ones, and the sample in prov.toml.

    If tracing is not possible, only the sample is left out, with a note. Raises ProvError if tasks
    are named.
    """
    sample = settings.get("trace", {}).get("sample", 0.0)
    if not keys and not sample:
        return TracedTasks()
    # only builds that trace need it
    from prov.reads.strace import Strace

    try:
        if sandbox is None:
            raise BuildError(
                "cannot trace: tasks without a sandbox are not traced",
                hint='install bubblewrap and set sandbox = "auto"',
            )
        return TracedTasks(Strace.find(search_path), keys, sample)
    except ProvError as error:
        if keys:
            raise
        note(f"{error}; no task is traced ({error.hint})")
        return TracedTasks()
