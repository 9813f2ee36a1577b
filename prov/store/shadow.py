"""Present a damaged store without its damage: links to what is whole, and the salvaged rest.

Everything that reads a store can read it, git too, and every object in it matches its id. It is a
scratch directory outside the store, which is not changed.
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
    """Yield a store with all objects that are whole; `bad` ones, which are malformed, are left
    out.
    """
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
    # whole ones first: after a kill, one may hold what can be read of a damaged one, under the same
    # name
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
