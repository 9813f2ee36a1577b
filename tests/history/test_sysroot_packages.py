"""The directories that a name contributes to a sysroot."""

from __future__ import annotations

import pytest

from prov.errors import NameUnknown, StoreError, SysrootError
from prov.history.sysroot_packages import contribution
from prov.records.output import UNSIGNED_MESSAGE, write_output_commit
from prov.records.refs import OutputRef
from prov.sharing.admission import reject_programs
from prov.store.objects import Kind, Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import read_listing
from prov.worktree.merge import Owned
from tests.history.recorded import Recorded, Recorder

FILES = {"image/usr/lib": "1", "pkg/list": "2"}


def packages(store: Store, name: str) -> list[Owned]:
    return contribution(store, name).packages


def check_signed(store: Store, names: list[str]) -> None:
    for name in names:
        unsigned = contribution(store, name).unsigned
        if unsigned is not None:
            reject_programs(store.objects, name, unsigned)


def entries(store: Store, name: str) -> list[list[bytes]]:
    """Return the names at the top of each directory of a name."""
    return [
        sorted(set(read_listing(store.objects, owned.pair)) - {b"."})
        for owned in packages(store, name)
    ]


@pytest.mark.parametrize(
    ("outputdir", "expected"),
    [
        (None, [[b"image", b"pkg"]]),
        ("image", [[b"usr"]]),
        ("image pkg none", [[b"usr"], [b"list"]]),
    ],
)
def test_output_folders_of_a_task(
    store: Store, recorder: Recorder, outputdir: str | None, expected: list[list[bytes]]
) -> None:
    facts = {"outputdir": outputdir} if outputdir else {}
    recorder.run("lib:install", {"script": "cp"}, FILES, facts=facts)
    assert entries(store, "lib:install") == expected
    assert entries(store, "lib:install@output/image") == [[b"usr"]]


def test_an_invalid_record(store: Store, recorder: Recorder) -> None:
    recorder.run("lib:install", {"script": "cp"}, FILES, facts={"outputdir": "'"})
    with pytest.raises(StoreError, match="has an invalid outputdir"):
        packages(store, "lib:install")
    with pytest.raises(NameUnknown):
        packages(store, "lib:none")


def test_a_task_with_one_run_costs_few_reads(
    store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorder.run("lib:install", {"script": "cp"}, FILES)
    reads: list[Oid] = []
    real = ObjectDatabase.read

    def counting(
        objects: ObjectDatabase, oid: Oid, *, most: int | None = None
    ) -> tuple[Kind, bytes]:
        reads.append(oid)
        return real(objects, oid, most=most)

    monkeypatch.setattr(ObjectDatabase, "read", counting)
    packages(store, "lib:install")
    # its name, whether it is a trial, and its record
    assert reads.count(run.commit) == 3
    assert len(reads) <= 12


def test_an_earlier_run_of_a_task(store: Store, recorder: Recorder) -> None:
    recorder.run("lib:install", {"script": "cp"}, {"image/first": "1"})
    recorder.run("lib:install", {"script": "cp -a"}, {"image/second": "2"})
    assert entries(store, "lib:install") == [[b"image"]]
    both = [packages(store, name) for name in ("lib:install~1", "lib:install")]
    assert both[0] != both[1]


def unsigned(store: Store, run: Recorded) -> None:
    """Mark the output of a run as sent unsigned by a remote."""
    with store.objects.writer() as writer:
        commit = write_output_commit(writer, run.output, UNSIGNED_MESSAGE)
    store.refs.update(RefUpdate(str(OutputRef(run.line.key, run.line.task_hash)), commit))


def test_an_unsigned_program_is_rejected(store: Store, recorder: Recorder) -> None:
    script = recorder.run("lib:install", {"script": "cp"}, {"lib/x.so.1": "ELF"})
    check_signed(store, ["lib:install", "lib:install@output"])
    unsigned(store, script)
    with pytest.raises(SysrootError, match="contains the program lib/x"):
        check_signed(store, ["lib:install"])


def test_an_unsigned_output_without_programs_is_used(store: Store, recorder: Recorder) -> None:
    unsigned(store, recorder.run("lib:install", {"script": "cp"}, {"x.h": "int x;\n"}))
    check_signed(store, ["lib:install"])
