"""A recorded task of BitBake's put back for somebody to look around in: its WORKDIR at the path that it had.

Scripts and build systems hold that path, so that a scratch copy is mounted over it for the command alone; the build
directory itself is not touched. Sysroots are the ones that are there now: a record has only their names.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.bitbake.capture import HASH_FACT
from prov.build.aside import scratch_folder
from prov.build.record import Records
from prov.build.sandbox import mounted_at
from prov.errors import StoreError
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import Listing, map_directories
from prov.worktree.checkout import checkout

SYSROOTS = ("recipe-sysroot", "recipe-sysroot-native")
_EXPORT = re.compile(r'^export ([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"$', re.MULTILINE | re.DOTALL)
_CHANGED_INTO = re.compile(r"^cd (.+)$", re.MULTILINE)


def is_bitbakes(store: Store, commit: Oid) -> bool:
    """Tell whether a run was one of BitBake's tasks."""
    return HASH_FACT in Records(store).facts(commit)


@dataclass(frozen=True, slots=True)
class Scene:
    """A WORKDIR that was put back, and how to get into it."""

    folder: Path
    at: str
    """The path that it had."""
    directory: str
    """Where the task's script was run."""
    exported: Mapping[str, str]
    mounter: str | None
    """Bubblewrap's program; without it the WORKDIR is at another path."""
    through: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a command on the caller's terminal; return its exit status."""
        where = self.directory
        if self.mounter is not None:
            command = mounted_at(self.mounter, self.folder, self.at, command, directory=where, through=self.through)
        else:
            where = where.replace(self.at, str(self.folder), 1)
        kept = {name: value for name, value in environment.items() if name in ("TERM", "HOME", "USER", "PATH")}
        outside = self.folder if self.mounter is not None else Path(where)
        code = subprocess.run(command, cwd=outside, env={**kept, **self.exported}, check=False).returncode
        return 128 - code if code < 0 else code


@contextlib.contextmanager
def put_back(store: Store, commit: Oid, mounter: str | None, *, before: bool) -> Iterator[Scene]:
    """Yield a task's WORKDIR as it was after the task, or before it; what is done there is gone at the end."""
    records = Records(store)
    facts, at = records.facts(commit), records.facts(commit).get("workdir", "")
    if not at.startswith("/") or ".." in at.split("/"):
        raise StoreError(f"a record names the WORKDIR {at!r}", hint="don't trust its origin")
    with scratch_folder(store) as folder:
        workdir = folder / "workdir"
        with store.objects.writer(memory=True) as writer:
            pair = records.workdir(store.objects.commit(commit).parents[0] if before else commit)
            checkout(writer, workdir, map_directories(writer, pair, _without_devices, writer, mtimes=True))
        script = records.record_entry(commit, "script").decode("utf-8", "surrogateescape")
        task = facts["task"].partition(":")[2]
        (workdir / "temp").mkdir(exist_ok=True)
        if script:
            run = workdir / "temp" / f"run.{task}"
            run.write_text(script, "utf-8", "surrogateescape")
            run.chmod(0o755)
        if not before:
            (workdir / "temp" / f"log.{task}").write_bytes(records.record_entry(commit, "log"))
        yield _scene(workdir, at, script, mounter)


def _scene(workdir: Path, at: str, script: str, mounter: str | None) -> Scene:
    notes = []
    through = tuple(name for name in SYSROOTS if mounter is not None and Path(at, name).is_dir())
    for name in through:
        (workdir / name).mkdir(exist_ok=True)
    if mounter is None:
        notes.append(f"without bubblewrap the WORKDIR is {workdir}: tools may still hold {at}, its path then")
    elif not through:
        notes.append("its sysroots are not there any more: bitbake makes them again with do_prepare_recipe_sysroot")
    return Scene(workdir, at, _directory(workdir, at, script), _exported(script), mounter, through, notes)


def _directory(workdir: Path, at: str, script: str) -> str:
    """Return where a shell script changes to before its task: below the WORKDIR, or that itself."""
    for text in reversed(_CHANGED_INTO.findall(script)):
        with contextlib.suppress(ValueError):
            path = shlex.split(text)[0]
            if path.startswith(f"{at}/") and (workdir / path.removeprefix(f"{at}/")).is_dir():
                return path
    return at


def _exported(script: str) -> dict[str, str]:
    """Return the variables that a shell script of BitBake's exports."""
    unescaped = ((name, re.sub(r"\\(\n|.)", _plain, value)) for name, value in _EXPORT.findall(script))
    return dict(unescaped)


def _plain(match: re.Match[str]) -> str:
    return "\n" if match[1] == "\n" else match[1]


def _without_devices(listing: Listing) -> Listing:
    """Leave out devices, which only root may make."""
    return {name: node for name, node in listing.items() if not node.is_device}
