"""Record the host and target directories of a package, which are its sysroots.

With BR2_PER_PACKAGE_DIRECTORIES, each package has its own. Before a package is configured,
Buildroot copies the directories of its dependencies into them. The package then installs into them.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from pathlib import Path

from prov.records.run import author, empty_start, write_workdir
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import (
    EMPTY,
    Pair,
    TreeReaderWriter,
    read_listing,
    write_listing,
)
from prov.worktree.snapshot import remember
from prov.wrapped.directory import Omissions, recording

VARIABLES = {"native": "HOST_DIR", "target": "TARGET_DIR"}
"""Sysroot -> the variable with its path."""
OUTPUTS = {
    "install-host": ("host", "native"),
    "install-staging": ("host", "native"),  # the staging directory is inside the host directory
    "install-target": ("target", "target"),
}
"""Step -> the folder of its output, and the sysroot that it installs into."""
BEFORE_SYSROOTS = ("download", "actual-download", "extract", "rsync", "patch")
"""Steps before Buildroot copies the dependencies."""


def sysroot_paths(environment: Mapping[str, str]) -> dict[str, Path]:
    """Return sysroot -> its path; none without per-package directories."""
    base = environment.get("BASE_DIR", "")
    own = Path(base, "per-package")
    paths = {name: Path(environment.get(variable, "")) for name, variable in VARIABLES.items()}
    return {name: path for name, path in paths.items() if base and path.is_relative_to(own)}


def settle(store: Store, path: Path) -> Pair:
    """Return the content of a sysroot, without mtimes; EMPTY if it does not exist.

    The ref of the directory keeps the content until the next call. Raises CaptureError.
    """
    if not path.is_dir():
        return EMPTY
    with recording(store, path, Omissions()) as directory:
        snapshot = directory.capture()
        pair = snapshot.output(b"", directory.writer) or EMPTY
        if pair == directory.last().pair:
            return pair
        # without the previous state as a parent: those of a run are in its record
        before = empty_start(directory.writer).commit
        by = author(time.time())
        commit = write_workdir(directory.writer, pair, before, by, "state of a sysroot")
        directory.writer.finish()
        store.refs.update(RefUpdate(directory.ref, commit))
        remember(snapshot, directory.memory)
        return pair


def added(trees: TreeReaderWriter, before: Pair, after: Pair) -> Pair:
    """Return the part of a directory that is new or changed. Equal folders are not read."""
    old, listing = read_listing(trees, before), read_listing(trees, after)
    for name, node in list(listing.items()):
        previous = old.get(name)
        if name == b".":
            continue
        if previous is not None and previous.same_content == node.same_content:
            del listing[name]
        elif node.is_directory and previous is not None and previous.is_directory:
            inside = added(trees, previous.pair, node.pair)
            if inside == EMPTY and stat.S_IMODE(previous.mode) == stat.S_IMODE(node.mode):
                del listing[name]
            else:
                listing[name] = node._replace(pair=inside)
    return write_listing(trees, listing, mtimes=False)
