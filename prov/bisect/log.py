"""The log of a bisection: its question and all verdicts. A bisection resumes from its log.

Each line is JSON. A line cut off by a kill is ignored, and the next verdict replaces it.

The question contains a command, and a store may come from a different person. Therefore a keyed
digest binds the question to the user of `prov bisect start` and to the store's path.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from prov.bisect.search import Verdict
from prov.errors import ProvError
from prov.files import replace_file
from prov.userkey import is_own, keyed_digest


@dataclass(frozen=True, slots=True)
class Question:
    """What to bisect: two builds, the directory to judge in each, and the command."""

    good: str
    bad: str
    """Ids of builds."""
    name: str
    """The directory for the command, without a build: `image:image@output`."""
    command: tuple[str, ...]
    repeat: int = 1
    combinations: bool = True
    """Whether to search for earlier changes that are also required for a bad result."""


@dataclass(frozen=True, slots=True)
class LogContent:
    """A question, and the verdicts so far."""

    question: Question
    verdicts: dict[str, Verdict]
    """Keyed by tree id."""
    flaky: bool
    """Whether several runs of the command judged the same tree differently."""
    digest: str
    """The question's keyed digest in hex; empty if its user has no key."""


def _question(table: dict[str, Any]) -> Question:
    """Return the question in a log. Raises ValueError, KeyError or TypeError if it is malformed."""
    question = Question(**{**table, "command": tuple(table["command"])})
    texts = (question.good, question.bad, question.name, *question.command)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected text values")
    if not isinstance(question.repeat, int) or not isinstance(question.combinations, bool):
        raise ValueError("invalid type of `repeat` or `combinations`")
    return question


@dataclass(frozen=True, slots=True)
class Log:
    """The log file."""

    path: Path

    def read(self) -> LogContent:
        """Return the question and the verdicts so far.

        Raises ProvError if the file is missing or not a log.
        """
        try:
            first, *rows = [json.loads(line) for line in self.lines()]
            question = _question(first["question"])
            verdicts: dict[str, Verdict] = {row["tree"]: row["verdict"] for row in rows}
            flaky = any(row.get("flaky", False) for row in rows)
            digest = str(first.get("digest", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProvError(
                f"{self.path} is not a bisection log: {error}", hint="run `prov bisect reset`"
            ) from error
        for verdict in verdicts.values():
            if verdict not in get_args(Verdict):
                raise ProvError(
                    f"{self.path}: invalid verdict {verdict!r}",
                    hint=f"use one of {', '.join(get_args(Verdict))}",
                )
        if not question.command or not all(isinstance(word, str) for word in question.command):
            raise ProvError(
                f"{self.path} is not a bisection log: it has no command",
                hint="run `prov bisect reset`",
            )
        return LogContent(question, verdicts, flaky, digest)

    def lines(self) -> list[str]:
        """Return the complete lines. Raises ProvError if the log is missing."""
        try:
            text = self.path.read_text()
        except FileNotFoundError as error:
            raise ProvError(
                "no bisection in progress", hint="run `prov bisect start` to start one"
            ) from error
        return text[: text.rfind("\n") + 1].splitlines()

    def begin(self, question: Question) -> None:
        """Start the log of this user's question."""
        self._write([self._first(question)])

    def copy(self, other: Log) -> None:
        """Start with the content of a different log. This user approves its command."""
        rows = [json.loads(line) for line in other.lines()]
        self._write([self._first(other.read().question), *rows[1:]])

    def is_own(self, content: LogContent) -> bool:
        """Return whether this user started or approved the logged bisection in this store."""
        try:
            return is_own(self._bound(content.question), bytes.fromhex(content.digest))
        except ValueError:
            return False

    def _first(self, question: Question) -> dict[str, Any]:
        digest = keyed_digest(self._bound(question)) or b""
        return {"question": asdict(question), "digest": digest.hex()}

    def _bound(self, question: Question) -> bytes:
        words = ["bisect", os.path.realpath(self.path), asdict(question)]
        return json.dumps(words, sort_keys=True).encode()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        replace_file(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def add(self, tree: str, verdict: Verdict, what: str, *, flaky: bool) -> None:
        """Append a verdict durably."""
        row = {"tree": tree, "verdict": verdict, "of": what, "flaky": flaky}
        with os.fdopen(
            os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b"
        ) as stream:
            stream.seek(stream.read().rfind(b"\n") + 1)
            stream.truncate()
            stream.write(json.dumps(row).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
