"""Mount a restored directory at its recorded path, with the rest of the machine read-only.

Scripts and build systems contain absolute paths. With bubblewrap, a command can read the machine,
but write only to the restored directory and an empty /tmp. It has no network, and no access to
sockets in /run, through which it could make other processes act for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from prov.errors import FORGET_RUN, StoreError

_HIDDEN = (Path("/tmp"), Path("/run"))
"""Folders that are empty in the sandbox: they hold sockets and files of other processes."""


def recorded_path(facts: Mapping[str, str]) -> str:
    """Return the path of a run's directory. Raises StoreError for an invalid record."""
    at = facts.get("workdir", "")
    if not at.startswith("/") or ".." in at.split("/") or "\0" in at:
        raise StoreError(
            f"invalid record: WORKDIR {at[:200]!r} is not a normalized absolute path",
            hint=FORGET_RUN,
        )
    return at


def check_sandbox(name: str, mounter: str | None, *, on_host: bool) -> None:
    """Raise StoreError unless there is bubblewrap or the user allows commands without it."""
    if mounter is None and not on_host:
        raise StoreError(
            f"cannot run {name} in a sandbox: bubblewrap is missing or does not work",
            hint="install bubblewrap; or, if you trust the store, add `--sandbox none`",
        )


def mounts(folder: Path, at: str, through: Sequence[str] = ()) -> list[str]:
    """Return bubblewrap options that mount the machine read-only, and `folder` at the path `at`.

    If the path does not exist, its nearest existing parent is replaced by an empty folder, into
    which the parent's entries are mounted. `through` lists names in the folder that show the
    content on disk at that path instead, read-only.
    """
    target = Path(os.path.realpath(at))
    above = target
    while not above.is_dir():
        above = above.parent
    options = ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent"]
    options += ["--cap-drop", "ALL"]  # root could mount anything writable again
    options += _read_only(Path("/"), is_new=above == Path("/"))
    options += ["--dev", "/dev", "--proc", "/proc"]
    for hidden in _HIDDEN:
        options += ["--tmpfs", str(hidden)]
        if above != hidden and above.is_relative_to(hidden):
            first = hidden / above.relative_to(hidden).parts[0]
            options += ["--ro-bind", str(first), str(first)]
    if above not in (target, Path("/"), *_HIDDEN):
        options += _read_only(above, is_new=True)
    options += ["--bind", str(folder), str(target)]
    for name in through:
        options += ["--ro-bind", f"{at}/{name}", f"{target}/{name}"]
    return options


def _read_only(folder: Path, *, is_new: bool) -> list[str]:
    """Return options that mount a folder read-only.

    With `is_new`, mount points can be added to it that do not exist on disk.
    """
    if not is_new:
        return ["--ro-bind", str(folder), str(folder)]
    options = ["--tmpfs", str(folder)]
    for entry in sorted(folder.iterdir()):
        options += ["--ro-bind-try", str(entry), str(entry)]
    return options
