"""Exclude paths from a capture by gitignore patterns."""

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
"""Folders of version control data, which is not content and which even reading commands change."""
DEFAULT = ("/recipe-sysroot/", "/recipe-sysroot-native/", "/temp/")
"""Sysroots, which are recorded by their components, and temporary files such as logs."""


class Exclude:
    """Matches paths against patterns and excluded paths.

    A plain pattern, such as the defaults, costs a set lookup.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT, *, paths: Iterable[bytes] = ()) -> None:
        self.patterns = tuple(patterns)
        plain = [
            pattern for pattern in self.patterns if re.fullmatch(r"/[\w./+-]+/|[\w.+-]+", pattern)
        ]
        if any(pattern.startswith("!") for pattern in self.patterns):
            plain = []  # with a negated pattern, the order matters
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

    def may_match(self, folder: bytes, names: Iterable[bytes]) -> bool:
        """Return whether any of the names in this folder can match.

        Most folders return False; their entries need no check.
        """
        if self._spec is not None or folder in self._parents:
            return True
        return not self._names.isdisjoint(names)

    def __call__(self, path: bytes, *, directory: bool) -> bool:
        """Return whether a path, relative to the captured directory, is excluded."""
        if path in self._paths or (directory and path in self._directories):
            return True
        if self._names and path[path.rfind(b"/") + 1 :] in self._names:
            return True
        if self._spec is None:
            return False
        return self._spec.match_file(os.fsdecode(path) + ("/" if directory else ""))


def inside(folder: Path, *paths: Path) -> list[str]:
    """Return patterns that exclude the given `paths`, prov's own folders, from a folder.

    Paths outside the folder are ignored.
    """
    top = folder.resolve()
    below = [path.resolve() for path in paths]
    return [
        f"/{escaped(path.relative_to(top))}/"
        for path in below
        if path != top and path.is_relative_to(top)
    ]


def escaped(path: Path) -> str:
    """Return a pattern that matches only this path."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", str(path))


def _compile(patterns: list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # takes 30 ms, and most captures do not need it

    try:
        # in git, `a/**` matches only the content of `a`; in pathspec, it matches `a` too
        return GitIgnoreSpec.from_lines(
            re.sub(r"^([^!].*/)\*\*$", r"\1*", pattern) for pattern in patterns
        )
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        words = ", ".join(patterns)[:300]
        raise CaptureError(
            f"invalid pattern in `exclude` {words!r}: {error}",
            hint="use gitignore patterns, such as `/build/`",
        ) from error
