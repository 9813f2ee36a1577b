"""Taking something out of a store for good: a secret that got into a log or a file.

What holds it goes with it: the tree it is in, the commits of that tree and those that descend from them, and every ref
to one of them. Of a run whose log or output is clean the record stays, as after a collection. Then the objects are
dropped at once, whatever their age, which needs the store for itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.build.record import RECORDS
from prov.build.retention import Gone, prune
from prov.errors import NameUnknown, ProvError
from prov.files import remove_tree
from prov.history.names import find_run
from prov.remote.address import without_password
from prov.remote.git_remote import GitRemote
from prov.remote.opening import open_remote
from prov.remote.publication import Published
from prov.remote.settings import Remote, read_remotes
from prov.remote.shrink import free, shrink
from prov.remote.transport import Access
from prov.store.objects import MODE_DIRECTORY, Commit, Oid, object_id
from prov.store.refs import BUILDS, LABELS, PINS
from prov.store.repository import Store
from prov.store.sweep import Swept, sweep
from prov.worktree.pool import POOLS

_EMPTY_BLOB = object_id("blob", b"")
RULE = "forgotten"
_KEPT = (BUILDS, LABELS, PINS)
"""Lists of builds: texts of prov's own, and the history of everything."""


@dataclass(slots=True)
class Holders:
    """Tells what holds one of some objects; every tree and commit is read once."""

    store: Store
    targets: Collection[Oid]
    _known: dict[Oid, bool] = field(default_factory=dict)

    def tree(self, oid: Oid) -> bool:
        """Tell whether a tree is, or holds, one of them."""
        known = self._known.get(oid)
        if known is None:
            known = oid in self.targets
            for entry in () if known else self.store.objects.tree(oid):
                known = entry.oid in self.targets or (entry.mode == MODE_DIRECTORY and self.tree(entry.oid))
                if known:
                    break
            self._known[oid] = known
        return known

    def commit(self, oid: Oid) -> bool:
        """Tell whether a commit is, holds or descends from one of them."""
        pending = [oid]
        while pending:
            each = pending[-1]
            if each in self._known:
                pending.pop()
                continue
            commit = self.store.objects.commit(each)
            missing = [parent for parent in commit.parents if parent not in self._known]
            if each in self.targets or not missing:
                self._known[each] = each in self.targets or self._commit_itself(commit)
                pending.pop()
            else:
                pending += missing
        return self._known[oid]

    def _commit_itself(self, commit: Commit) -> bool:
        return self.tree(commit.tree) or any(self._known[parent] for parent in commit.parents)


@dataclass(slots=True)
class Forgotten:
    """What went, and where it could not be taken out."""

    refs: list[Gone] = field(default_factory=list)
    swept: Swept = field(default_factory=lambda: Swept(0, 0))
    workdirs: list[Path] = field(default_factory=list)
    """Directories on disk that were removed."""
    pool_files: int = 0
    remotes: dict[str, int] = field(default_factory=dict)
    """Remote -> results that went there."""
    left: list[str] = field(default_factory=list)
    """Where it may still be, and why."""


def targets_of(store: Store, names: Iterable[str], text: bytes = b"") -> set[Oid]:
    """Return the objects that are meant: runs by their names, with their logs, and every file that contains a text.

    Raises NameUnknown when nothing is.
    """
    found: set[Oid] = set()
    for name in names:
        run = find_run(store, name)
        record = store.objects.commit(run.commit).parents[1]
        log = store.objects.entry(store.objects.commit(record).tree, "log")
        found |= {run.commit, record, *([log.oid] if log else [])}
    if text:
        found |= _containing(store, text)
        if not found:
            raise NameUnknown("no file in the store contains that text")
    return found - {_EMPTY_BLOB}


def _containing(store: Store, text: bytes) -> set[Oid]:
    found = set()
    for oid in {oid for pack in store.objects.packs() for oid in pack.sizes()}:
        kind, data = store.objects.read(oid)
        if kind == "blob" and text in data:
            found.add(oid)
    return found


def plan_forget(store: Store, targets: Collection[Oid]) -> list[Gone]:
    """Return the refs that have to go."""
    holders = Holders(store, targets)
    found = []
    for ref, oid in store.refs.list("refs/").items():
        if not ref.startswith(_KEPT) and holders.commit(oid):
            found.append(Gone(ref, oid, RULE, _record_ref(store, holders, ref, oid)))
    return found


def _record_ref(store: Store, holders: Holders, ref: str, oid: Oid) -> str:
    """Return the ref under which a run's record stays, if only its WORKDIR is in question."""
    parts = ref.split("/")
    if not ref.startswith("refs/tags/") or len(parts) != 6 or parts[2] in ("failed", "outside"):
        return ""
    if oid in holders.targets or holders.commit(store.objects.commit(oid).parents[1]):
        return ""
    later = f"refs/tags/{'/'.join(parts[2:5])}/{int(parts[5]) + 1}"
    return RECORDS + ref.removeprefix("refs/tags/") if store.refs.get(later) is None else ""


def forget(store: Store, targets: Collection[Oid], work: Path | None, access: Access) -> Forgotten:
    """Take objects out of the store, out of what is on disk beside it, and out of the remotes that can be reached.

    `work` is the folder of WORKDIRs. Raises ProvError when somebody else is at work in the store.
    """
    done = Forgotten(refs=plan_forget(store, targets))
    holders = Holders(store, targets)
    for remote in read_remotes(store):
        _forget_at(store, remote, holders, access, done)
    _remove_workdirs(store, done, work)
    prune(store, done.refs)
    done.pool_files = _remove_pool_files(store, targets)
    done.swept = sweep(store.objects, thorough=True)
    if done.swept.in_use:
        raise ProvError(
            "its refs are gone, and its objects are still there: somebody else is at work in the store",
            hint="run the same again when no build is running",
        )
    _remove_loose(store, targets)
    left = [oid for oid in targets if store.objects.exists(oid)]
    if left:
        done.left.append(f"{store.path}: {len(left)} objects are held by what prov did not make, or in kept packs")
    if (store.path / "damaged").exists():
        done.left.append(f"{store.path / 'damaged'}: packs that `prov fsck --repair` put aside")
    return done


def _forget_at(store: Store, remote: Remote, holders: Holders, access: Access, done: Forgotten) -> None:
    url = without_password(remote.url)
    try:
        opened = open_remote(remote, store, access)
        opened.refresh()
        if not isinstance(opened, GitRemote):
            held = any(_is_bad(store, holders, task) for task, *_ in opened.index.tasks(refused=True))
            if held:
                done.left.append(f"{remote.name} ({url}): plain files; export them anew")
            return

        def bad() -> list[Published]:
            return [task for task, *_ in opened.index.tasks(refused=True) if _is_bad(store, holders, task)]

        gone = shrink(opened, bad, keeps_workdir=lambda oid: not holders.commit(oid)).gone
    except ProvError as error:
        done.left.append(f"{remote.name} ({url}): {error}")
        return
    if gone:
        done.remotes[remote.name] = len(gone)
        if not free(opened, prune="now"):
            done.left.append(f"{remote.name} ({url}): nothing names it, and the server keeps it until it collects")


def _is_bad(store: Store, holders: Holders, task: Published) -> bool:
    """Tell whether a published result, or its WORKDIR, holds what is to go, as far as it is here."""
    objects = store.objects
    if objects.exists(task.record) and holders.tree(task.record):
        return True
    return bool(task.workdir) and objects.exists(task.workdir) and holders.commit(task.workdir)


def _remove_workdirs(store: Store, done: Forgotten, work: Path | None) -> None:
    """Remove WORKDIRs whose recorded state goes: what is found in them later would be recorded anew."""
    for gone in done.refs:
        if gone.ref.startswith("refs/prov/workdir/") and work is not None:
            path = work / gone.ref.removeprefix("refs/prov/workdir/")
            if path.is_dir():
                remove_tree(path)
                done.workdirs.append(path)


def _remove_pool_files(store: Store, targets: Collection[Oid]) -> int:
    count = 0
    for pool in POOLS:
        for oid in targets:
            text = oid.hex()
            for path in (store.cache / pool).glob(f"{text[:2]}/{text[2:]}*"):
                path.unlink(missing_ok=True)
                count += 1
    return count


def _remove_loose(store: Store, targets: Sequence[Oid] | Collection[Oid]) -> None:
    for oid in targets:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.path / "objects" / oid.hex()[:2] / oid.hex()[2:])
