"""Place `direct` packages in folders of their own instead of in a sysroot.

Some tools must not share a sysroot with others, such as one that preloads itself into every
process. Each output of such a tool has its own folder in the store's cache, and its programs are on
the PATH of tasks that need it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from prov.files import locked, remove_tree
from prov.records.output import read_pair
from prov.tasks.job import Taken, Workspace
from prov.tasks.sandbox import DIRECT
from prov.worktree.attributes import at_path, without_setuid
from prov.worktree.checkout import checkout
from prov.worktree.merge import Owned, union
from prov.worktree.path_tokens import NOWHERE, TokenPaths
from prov.worktree.placer import PrivatePlacer
from prov.worktree.verify import differences


def put_direct(workspace: Workspace, taken: Taken, links: Path) -> Path:
    """Place an output in its own folder, unless it is there unchanged; return the folder."""
    recipe = taken.key.recipe
    own = hashlib.sha1(
        f"{taken.output.hex()} {workspace.sandbox is None} {links}".encode()
    ).hexdigest()
    folder = workspace.store.cache / "direct" / f"{recipe}-{own[:16]}"
    seen = os.fsencode(f"{DIRECT}/{recipe}" if workspace.sandbox else folder)
    tools = os.fsencode(links)
    places = TokenPaths({b"W": NOWHERE, b"S": seen, b"N": seen, b"H": tools})
    objects = workspace.store.objects
    with locked(workspace.store.cache / "locks" / "direct"), objects.writer() as writer:
        whole = read_pair(writer, taken.output)
        nodes = [at_path(writer, whole, path) for path in taken.paths]
        pair = union(
            writer, [Owned(taken.key, node.pair) for node in nodes if node is not None]
        ).pair
        pair = without_setuid(writer, pair, writer)
        if folder.is_dir() and not differences(writer, folder, pair):
            return folder
        temporary = folder.with_suffix(".tmp")
        for leftover in (temporary, folder):
            if leftover.exists():
                remove_tree(leftover)
        checkout(
            writer, temporary, pair, placer=PrivatePlacer(writer, places, sealed=True, shares=True)
        )
        temporary.rename(folder)
    return folder
