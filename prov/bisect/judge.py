"""The verdicts of a bisection: those in its log, and the command's, which are logged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prov.bisect.candidates import pair_in, tree_id
from prov.bisect.command import NOT_FOUND, verdict_of
from prov.bisect.log import Log, Question
from prov.bisect.search import Verdict, joint_verdict
from prov.errors import ProvError
from prov.history.builds import find_build
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout

PLACE = "{}"
"""In a command, what stands for the directory; otherwise that is the last argument."""


class VerdictWatcher(Protocol):
    """What a judge reports."""

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...


@dataclass(slots=True)
class Judge:
    """Judges trees by a command."""

    store: Store
    log: Log
    folder: Path
    """Where trees are checked out."""
    run: Callable[[Sequence[str]], int]
    """Runs a command and returns its exit status."""
    watcher: VerdictWatcher
    question: Question = field(init=False)
    verdicts: dict[str, Verdict] = field(init=False)
    """By tree."""
    flaky: bool = field(init=False)
    """Whether the command judged one tree differently in two runs."""
    checkouts: int = 0
    """How many trees were checked out for the command."""
    _is_usable: bool = False

    def __post_init__(self) -> None:
        content = self.log.read()
        self.question, self.verdicts, self.flaky = content.question, content.verdicts, content.flaky

    def judge(self, pair: Pair, what: str) -> Verdict:
        """Return the verdict on a tree: the logged one, else the command's."""
        tree = tree_id(pair)
        if tree in self.verdicts:
            return self.verdicts[tree]
        self.checkouts += 1
        verdict, flaky = joint_verdict(list(self._verdicts(pair)))
        self.flaky |= flaky
        self.log.add(tree, verdict, what, flaky=flaky)
        self.verdicts[tree] = verdict
        self.watcher.verdict(what, verdict, flaky=flaky)
        return verdict

    def _verdicts(self, pair: Pair) -> Iterator[Verdict]:
        for _ in range(self.question.repeat):
            code = self._run_with(pair)
            if code in NOT_FOUND and not self._is_usable:
                self._check_usable()
            verdict = verdict_of(code)
            yield verdict
            if verdict == "bad":
                return

    def _run_with(self, pair: Pair) -> int:
        """Run the command with a tree of its own, which it may change; return its exit status."""
        words = self.question.command
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            directory = Path(folder, "tree")
            checkout(self.store.objects, directory, pair)
            command = [word.replace(PLACE, str(directory)) for word in words]
            if command == list(words):
                command.append(str(directory))
            return self.run(command)

    def _check_usable(self) -> None:
        """Run the command with the good build: if it is not found there, too, the command is wrong.

        As git does. Raises ProvError.
        """
        pair = pair_in(self.store, self.question.name, find_build(self.store, self.question.good))
        assert pair is not None  # it has a tree
        code = self._run_with(pair)
        if code in NOT_FOUND:
            raise ProvError(
                f"the command ends with {code} for the good build, too: a program that it names"
                " can't be run",
                hint=(
                    "`prov bisect reset`, then start with another; or mend it, and `prov bisect"
                    " continue`"
                ),
            )
        self._is_usable = True
