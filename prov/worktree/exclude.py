"""Which paths of a directory are not its content: patterns as gitignore has them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

DEFAULT = ("/recipe-sysroot/", "/recipe-sysroot-native/", "/temp/")
"""Sysroots (recorded as what they were composed of) and temporary files, logs among them."""


class Exclude:
    """Patterns, matched path by path. Anchored plain ones, as the defaults are, cost a set lookup."""

    def __init__(self, patterns: Iterable[str] = DEFAULT) -> None:
        self.patterns = tuple(patterns)
        plain = [pattern for pattern in self.patterns if re.fullmatch(r"/[\w./+-]+/", pattern)]
        if any(pattern.startswith("!") for pattern in self.patterns):
            plain = []  # the order counts
        others = [pattern for pattern in self.patterns if pattern not in plain]
        self._directories = frozenset(os.fsencode(pattern.strip("/")) for pattern in plain)
        self._parents = frozenset(path.rpartition(b"/")[0] for path in self._directories)
        self._spec = _compile(others) if others else None

    def may_match(self, folder: bytes) -> bool:
        """Tell whether anything right in this folder can be left out, so that most folders need not ask per entry."""
        return self._spec is not None or folder in self._parents

    def __call__(self, path: bytes, *, directory: bool) -> bool:
        """Tell whether the path, relative to the captured directory, is left out."""
        if directory and path in self._directories:
            return True
        if self._spec is None:
            return False
        return self._spec.match_file(os.fsdecode(path) + ("/" if directory else ""))


def _compile(patterns: list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # 30 ms that most captures need not spend

    # to git `a/**` is what is in `a`, to pathspec it is `a` too
    return GitIgnoreSpec.from_lines(re.sub(r"^([^!].*/)\*\*$", r"\1*", pattern) for pattern in patterns)
