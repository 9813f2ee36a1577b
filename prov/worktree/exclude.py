"""Which paths of a directory are not its content: patterns as gitignore has them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prov.errors import CaptureError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

VERSION_CONTROL = (".git", ".hg", ".svn", ".jj", ".bzr")
"""Where version control keeps its own data: beside the content, and changed by looking at it."""
DEFAULT = ("/recipe-sysroot/", "/recipe-sysroot-native/", "/temp/")
"""Sysroots (recorded as what they were composed of) and temporary files, logs among them."""


class Exclude:
    """Patterns, and paths, matched path by path.

    Plain patterns, as the defaults are, cost a set lookup.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT, *, paths: Iterable[bytes] = ()) -> None:
        self.patterns = tuple(patterns)
        plain = [
            pattern for pattern in self.patterns if re.fullmatch(r"/[\w./+-]+/|[\w.+-]+", pattern)
        ]
        if any(pattern.startswith("!") for pattern in self.patterns):
            plain = []  # the order counts
        others = [pattern for pattern in self.patterns if pattern not in plain]
        self._names = frozenset(
            os.fsencode(pattern) for pattern in plain if not pattern.startswith("/")
        )
        self._directories = frozenset(
            os.fsencode(pattern.strip("/")) for pattern in plain if pattern.startswith("/")
        )
        self._paths = frozenset(path.strip(b"/") for path in paths)
        self._parents = frozenset(
            path.rpartition(b"/")[0] for path in (*self._directories, *self._paths)
        )
        self._spec = _compile(others) if others else None

    def may_match(self, folder: bytes) -> bool:
        """Tell whether anything right in this folder can be left out, so that most folders need not
        ask per entry.
        """
        return bool(self._names) or self._spec is not None or folder in self._parents

    def __call__(self, path: bytes, *, directory: bool) -> bool:
        """Tell whether the path, relative to the captured directory, is left out."""
        if path in self._paths or (directory and path in self._directories):
            return True
        if self._names and path[path.rfind(b"/") + 1 :] in self._names:
            return True
        if self._spec is None:
            return False
        return self._spec.match_file(os.fsdecode(path) + ("/" if directory else ""))


def inside(folder: Path, *paths: Path) -> list[str]:
    """Return patterns for those of these folders that are inside one: prov's own, which are not its
    content.
    """
    top = folder.resolve()
    below = [path.resolve() for path in paths]
    return [
        f"/{escaped(path.relative_to(top))}/"
        for path in below
        if path != top and path.is_relative_to(top)
    ]


def escaped(path: Path) -> str:
    """Return a path as a pattern that matches it alone."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", str(path))


def _compile(patterns: list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # 30 ms that most captures need not spend

    try:
        # to git `a/**` is what is in `a`, to pathspec it is `a` too
        return GitIgnoreSpec.from_lines(
            re.sub(r"^([^!].*/)\*\*$", r"\1*", pattern) for pattern in patterns
        )
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        words = ", ".join(patterns)[:300]
        raise CaptureError(
            f"{words!r}: a pattern of `exclude` is invalid: {error}", hint="as gitignore has them"
        ) from error
