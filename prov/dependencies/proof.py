"""Prove that a recipe does not need dependencies, by running its tasks without them.

The recorded tasks run again in a scratch directory. Each output of an unneeded dependency is
replaced by an empty one. If all outputs of the recipe have the same ids as before, the dependencies
do not affect them. Nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from prov.dependencies.advice import Advice
from prov.dependencies.findings import Certainty, Unused
from prov.progress import counted
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import Output, write_output
from prov.records.record import read_run_record
from prov.replay.reproduce import Recorded, recorded_tasks
from prov.replay.scratch import Scratch
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.tasks.recorded import RecordedTask
from prov.worktree.attributes import EMPTY


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a recipe's tasks without some dependencies."""

    without: tuple[str, ...]
    """The recipes of the dependencies."""
    problem: str = ""
    """What the first task with a different result did; empty if all outputs are the same."""
    is_conclusive: bool = True
    """Whether the dependencies caused the problem."""

    @property
    def is_proof(self) -> bool:
        """Whether all outputs are the same without the dependencies."""
        return not self.problem


Removed = Callable[[Collection[str]], Collection[str]]
"""Returns the recipes that leave the sysroots if some dependencies are removed."""


def prove(
    store: Store,
    scratch: Scratch,
    recipe: str,
    candidates: Sequence[str],
    removed: Removed = frozenset,
) -> dict[str, Trial]:
    """Return recipe of a candidate -> the trial that proves or refutes it.

    All proved candidates together are not needed. First they are left out together, then, if that
    changes an output, one after the other in addition to those proved so far. Raises ProvError if
    an input of a task is not in the store.
    """
    with store.objects.writer() as writer:
        empty = write_output(writer, Output(EMPTY))
    trials = _Trials(store, scratch, recorded_tasks(store, recipe), empty, removed)
    together = trials.run(candidates)
    if together.is_proof or len(candidates) < 2:
        return dict.fromkeys(candidates, together)
    results: dict[str, Trial] = {}
    proved: list[str] = []
    for candidate in counted(list(candidates), "proving", every=1):
        trial = results[candidate] = trials.run([*proved, candidate])
        if trial.is_proof:
            proved.append(candidate)
    return results


@dataclass(slots=True)
class _Trials:
    store: Store
    scratch: Scratch
    tasks: Sequence[Recorded]
    """All tasks of the recipe, each after its predecessors."""
    empty: OutputId
    """An output without content."""
    removed: Removed
    _control: str | None = None

    def run(self, names: Sequence[str]) -> Trial:
        """Run the recipe's tasks without some dependencies, up to the first difference."""
        without = frozenset([*names, *self.removed(names)])
        problem = self._difference(without, is_control=False)
        if not problem:
            return Trial(tuple(names))
        if self._control is None:  # the first trial runs the most tasks
            self._control = self._difference(without, is_control=True)
        if self._control:
            return Trial(tuple(names), self._control, is_conclusive=False)
        return Trial(tuple(names), f"{problem} without it")

    def _difference(self, without: frozenset[str], *, is_control: bool) -> str:
        """Return the first different result without some dependencies; empty if there is none.

        A control runs the same tasks with the dependencies, to show whether they are reproducible.
        """
        commits: dict[TaskKey, Oid] = {}
        reran: set[str] = set()
        for run, task in self.tasks:
            emptied = self._emptied(task, without)
            if emptied == task and reran.isdisjoint(task.definition.after):
                commits[run.key] = run.commit
                continue
            if task.definition.task["network"]:
                return f"{run.key} needs the network"
            start = [commits[TaskKey(key)] for key in task.definition.after]
            result = self.scratch.run(task if is_control else emptied, start=start)
            if result.problem:
                return f"{run.key} failed: {result.problem}"
            if result.output != read_run_record(self.store.objects, run.commit).output:
                return f"{run.key} has a different output"
            assert result.commit is not None
            commits[run.key] = result.commit
            reran.add(run.key)
        return ""

    def _emptied(self, task: RecordedTask, without: frozenset[str]) -> RecordedTask:
        """Return a task with empty outputs of some recipes as its inputs."""
        outputs = {
            (kind, key): self.empty if TaskKey(key).recipe in without else output
            for (kind, key), output in task.outputs.items()
        }
        return replace(task, outputs=outputs)


def with_proofs(advice: Advice, trials: Mapping[str, Trial]) -> Advice:
    """Return advice with the results of trials, by the recipe of the unused dependency."""
    return replace(advice, unused=tuple(_proved(own, trials) for own in advice.unused))


def _proved(unused: Unused, trials: Mapping[str, Trial]) -> Unused:
    trial = trials.get(unused.package.recipe)
    if trial is None:
        return unused
    if trial.is_proof:
        return replace(unused, certainty=Certainty.PROVED, reason="")
    certainty = Certainty.NEEDED if trial.is_conclusive else unused.certainty
    return replace(unused, certainty=certainty, reason=trial.problem)
