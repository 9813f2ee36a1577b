"""A bill lists the files of the target and all that they were made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prov.sbom import collect, contents
from prov.sbom.bill import Bill
from prov.sbom.files_read import FilesReader
from prov.store.objects import object_id
from tests.history.tiny import Tiny
from tests.sbom.project import TEXTS, bill_of, build_project, file_at


def test_a_made_image_has_the_files_that_it_was_made_from(bill: Bill) -> None:
    files = {file.path: file for file in bill.files if file.purpose == "image"}
    assert {path: (file.recipe, bool(file.origin)) for path, file in files.items()} == {
        "deploy/archive": ("image", False),
        "rootfs/usr/again": ("lib", False),
        "rootfs/usr/lib": ("lib", True),
        "rootfs/usr/a": ("lib", True),
        "rootfs/usr/empty": ("lib", False),
    }
    assert files["rootfs/usr/lib"].origin == files["rootfs/usr/again"].ref
    copied = bill.by_ref[files["rootfs/usr/a"].origin]
    assert (copied.path, copied.purpose) == ("sources/folder/a", "source")


def test_a_task_that_copies_has_only_its_own_files(tiny: Tiny) -> None:
    bill = bill_of(tiny, "image:rootfs")
    paths = [file.path for file in bill.files if file.purpose == "image"]
    assert paths == [f"rootfs/usr/{name}" for name in ("a", "again", "empty", "lib")]


def test_names_and_times_are_those_of_the_build(tiny: Tiny, bill: Bill) -> None:
    build = tiny.latest()
    assert (bill.name, bill.version, bill.build) == ("image", "3", build.commit.hex())
    assert bill.created == tiny.store.objects.commit(build.commit).author.seconds
    assert bill.ref == f"urn:prov:sbom:{bill.build}:image:image"


def test_refs_are_unique_and_known(bill: Bill) -> None:
    refs = [file.ref for file in bill.files]
    assert len(set(refs)) == len(refs)
    sources = {source.ref for package in bill.packages for source in package.sources}
    folders = {folder.ref for folder in bill.folders}
    tasks = {task.ref for task in bill.tasks}
    for task in bill.tasks:
        assert set(task.read) | set(task.made) <= set(refs)
        assert set(task.sources) <= sources | set(refs)
        assert set(task.folders) | set(task.outputs) <= folders
        assert set(task.after) <= tasks


def test_the_same_build_has_the_same_bill(tiny: Tiny, bill: Bill, tmp_path: Path) -> None:
    shutil.copytree(tiny.root, tmp_path / "copy", symlinks=True)
    copy = Tiny(tmp_path / "copy")
    (copy.store.cache / contents.FILE).unlink()
    assert bill_of(copy) == bill


def test_later_runs_do_not_change_the_bill_of_a_build(tmp_path: Path) -> None:
    tiny = build_project(tmp_path)
    build, before = tiny.latest(), bill_of(tiny)
    tiny.build(TEXTS, "image", force=("lib:make",))
    edited = {**TEXTS, "lib.c": "int changed;\n"}
    tiny.build(edited, "image")
    assert collect.collect(build, before.targets) == before
    assert bill_of(tiny).ref != before.ref


def test_depfiles_state_the_sources_of_a_file(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parsers of depfiles have tests of their own; here, they find one source."""
    monkeypatch.setattr(
        FilesReader,
        "of_file",
        lambda self, origin: tuple(
            self.origins.before(self.graph.run(origin.task), [b"lib.c"]).values()
        ),
    )
    bill = bill_of(tiny)
    file = file_at(bill, "rootfs/usr/again")
    assert [bill.by_ref[ref].path for ref in file.sources] == ["lib.c"]
    source = file_at(bill, "lib.c")
    assert source.purpose == "source"
    data = (TEXTS["lib.c"] + TEXTS["fix.patch"]).encode()
    assert source.oid == object_id("blob", data)
