"""Present a damaged store without its damage: links to sound files, and salvaged objects.

Every object in the shadow matches its id, so git and all of prov can read it. The shadow is a
scratch directory outside the store; the store is not changed.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from prov.store.integrity import PackState, loose_objects, salvage
from prov.store.objects import Oid
from prov.store.packs import PackStream
from prov.store.refs import HEAD
from prov.store.repository import Store


@contextlib.contextmanager
def shadow_of(store: Store, packs: Sequence[PackState], bad: frozenset[Oid]) -> Iterator[Store]:
    """Yield a store with all readable objects except the malformed ones in `bad`."""
    with tempfile.TemporaryDirectory(prefix="prov-fsck-") as scratch:
        path = Path(scratch)
        (path / "objects/pack").mkdir(parents=True)
        (path / "refs").mkdir()
        shutil.copyfile(store.path / "config", path / "config")
        (path / "HEAD").write_bytes(HEAD)
        _fill(store.path, path, packs, bad)
        view = Store(path)
        view.cache = store.cache
        yield view


def _fill(source: Path, path: Path, packs: Sequence[PackState], bad: frozenset[Oid]) -> None:
    if (source / "shallow").exists():
        shutil.copyfile(source / "shallow", path / "shallow")
    alternates = source / "objects/info/alternates"
    if alternates.exists():
        lines = [
            str(source / "objects" / line) for line in alternates.read_text().splitlines() if line
        ]
        (path / "objects/info").mkdir()
        (path / "objects/info/alternates").write_text("".join(f"{line}\n" for line in lines))
    # sound packs first: an interrupted repair can leave a pack of the objects salvaged from a
    # damaged one, which has the same name as the pack written below
    for state in sorted(packs, key=lambda state: bool(state.wrong)):
        pack = source / "objects/pack" / state.name
        if not state.wrong:
            for suffix in (".pack", ".idx"):
                (path / "objects/pack" / f"{state.name}{suffix}").symlink_to(
                    pack.with_suffix(suffix).absolute()
                )
        elif pack.with_suffix(".pack").exists():
            stream = PackStream(path / "objects/pack")
            salvage(pack.with_suffix(".pack"), stream, leave_out=bad)
            stream.finish()
    for file, oid, wrong in loose_objects(source):
        if not wrong and oid not in bad:
            target = path / "objects" / file.parent.name / file.name
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(file.absolute())
