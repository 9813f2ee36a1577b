"""What version control states about a recorded directory: its commit, and the paths it ignores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prov.errors import CaptureError, StoreError
from prov.worktree.exclude import VERSION_CONTROL
from prov.wrapped.work_tree import WorkTree

COMMIT, DIRTY = "git-commit", "git-dirty"
"""Facts: the commit of the work tree, and `yes` or `no`: whether tracked files differed from it."""
PROBLEM = "git-problem"
"""Fact: why git could not determine the commit."""
_FOLDERS = frozenset(map(os.fsencode, VERSION_CONTROL))


def revision_facts(folder: Path) -> dict[str, str]:
    """Return the facts about the git work tree that contains a folder; none outside one.

    A problem with git is a fact too, since it does not prevent a command from running.
    """
    work_tree = WorkTree.containing(folder)
    if work_tree is None:
        return {}
    try:
        revision = work_tree.revision()
    except (OSError, StoreError) as error:  # an OSError if no temporary directory can be written
        return {PROBLEM: " ".join(str(error).split())}
    if not revision.commit:
        return {}
    return {COMMIT: revision.commit, DIRTY: "yes" if revision.is_dirty else "no"}


def ignored_paths(folder: Path, outputs: Sequence[str]) -> set[bytes]:
    """Return the paths in a folder that git ignores, relative to the folder.

    Repositories in the folder, such as submodules, follow their own rules. The folders `outputs`
    and their content are not ignored. Raises CaptureError outside a git work tree, and StoreError
    if git fails.
    """
    folder = folder.resolve()
    ignored = set(_ignored_by_outer(folder))
    top = os.fsencode(folder)
    for path, folders, files in os.walk(top):
        prefix = path[len(top) + 1 :] + b"/" if path != top else b""
        nested = None
        if prefix and b".git" in (*folders, *files):
            nested = WorkTree.at(Path(os.fsdecode(path)))
        if nested is not None:
            ignored.update(prefix + name for name in nested.ignored(nested.top))
        folders[:] = [
            name for name in folders if name not in _FOLDERS and prefix + name + b"/" not in ignored
        ]
    paths = {path.rstrip(b"/") for path in ignored}
    for output in outputs:
        paths = set(_without(top, paths, os.fsencode(output)))
    return paths


def _ignored_by_outer(folder: Path) -> list[bytes]:
    """Return the paths that the work tree around a folder ignores, relative to the folder."""
    work_tree = WorkTree.containing(folder)
    if work_tree is None:
        raise CaptureError(
            f"--gitignore: {folder} is not in a git work tree",
            hint="omit --gitignore, and list the paths to skip as `exclude` in prov.toml",
        )
    prefix = os.fsencode(folder.relative_to(work_tree.top)) + b"/"
    prefix = b"" if folder == work_tree.top else prefix
    # a folder is listed too if git ignores all files in it, but not the folder
    paths = [path for path in work_tree.ignored(folder) if path != prefix]
    is_below_ignored = any(prefix.startswith(path) for path in paths)
    if is_below_ignored or (prefix and not paths and work_tree.is_ignored(folder)):
        raise CaptureError(
            f"--gitignore: git ignores {folder}, so there is nothing to record",
            hint="omit --gitignore, or record a folder above it with --output",
        )
    return [path.removeprefix(prefix) for path in paths]


def _without(top: bytes, paths: Iterable[bytes], output: bytes) -> Iterator[bytes]:
    """Yield paths that together cover the given ones, except for an output and its content."""
    inside = output + b"/" if output else b""
    for path in paths:
        if inside.startswith(path + b"/") and path != output:
            yield from _beside(top, path, output)
        elif not path.startswith(inside) and path != output:
            yield path


def _beside(top: bytes, path: bytes, output: bytes) -> Iterator[bytes]:
    """Yield the entries of the folders from `path` to `output` that are not on this way."""
    for step in output[len(path) + 1 :].split(b"/"):
        names: list[bytes] = []
        with contextlib.suppress(OSError):  # it does not exist yet
            names = os.listdir(os.path.join(top, path))
        yield from (path + b"/" + name for name in names if name != step)
        path += b"/" + step
