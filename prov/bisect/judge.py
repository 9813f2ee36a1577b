"""Judge trees by a command, and log the verdicts."""

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
"""Placeholder for the directory in a command. Without it, the directory is the last argument."""


class VerdictWatcher(Protocol):
    """Receives the verdicts of a judge."""

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...


@dataclass(slots=True)
class Judge:
    """Judges trees by a command."""

    store: Store
    log: Log
    folder: Path
    """Folder for checkouts."""
    run: Callable[[Sequence[str]], int]
    """Runs a command and returns its exit status."""
    watcher: VerdictWatcher
    question: Question = field(init=False)
    verdicts: dict[str, Verdict] = field(init=False)
    """Keyed by tree id."""
    flaky: bool = field(init=False)
    """Whether several runs of the command judged the same tree differently."""
    checkouts: int = 0
    """Number of trees checked out for the command."""
    _is_usable: bool = False

    def __post_init__(self) -> None:
        content = self.log.read()
        self.question, self.verdicts, self.flaky = content.question, content.verdicts, content.flaky

    def judge(self, pair: Pair, what: str) -> Verdict:
        """Return the verdict on a tree, from the log or from the command."""
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
        """Run the command on a private checkout of a tree, and return its exit status."""
        words = self.question.command
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            directory = Path(folder, "tree")
            checkout(self.store.objects, directory, pair)
            command = [word.replace(PLACE, str(directory)) for word in words]
            if command == list(words):
                command.append(str(directory))
            return self.run(command)

    def _check_usable(self) -> None:
        """Run the command on the good build. If it is not found there either, the command is wrong.

        git does the same. Raises ProvError.
        """
        pair = pair_in(self.store, self.question.name, find_build(self.store, self.question.good))
        assert pair is not None  # it has a tree
        code = self._run_with(pair)
        if code in NOT_FOUND:
            raise ProvError(
                f"the command exits with {code} for the good build too: a program in it cannot be"
                " run",
                hint=(
                    "fix the command and run `prov bisect continue`, or run `prov bisect reset` and"
                    " start with a different one"
                ),
            )
        self._is_usable = True
