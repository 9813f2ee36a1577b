"""Sources, patches, packages, folders and tasks are described as recorded."""

from __future__ import annotations

from prov.sbom.bill import Bill, BilledTask
from prov.sbom.parts import own_inputs
from tests.history.tiny import Tiny
from tests.sbom.project import PIN, TEXTS, bill_of, file_at, graph_of, run_of


def task_in(bill: Bill, key: str) -> BilledTask:
    (task,) = [task for task in bill.tasks if task.key == key]
    return task


def test_sources_are_pinned_or_beside_the_recipe(bill: Bill) -> None:
    (lib,) = [package for package in bill.packages if package.name == "lib"]
    sources = {source.name: source for source in lib.sources}
    assert sources["lib.tar.gz"].sha256 == PIN
    assert sources["lib.tar.gz"].url == "https://example.org/lib.tar.gz"  # without the password
    assert sources["folder"].swhid == f"swh:1:dir:{sources['folder'].tree}"
    assert sources["lib.c"].facts is not None
    assert sources["lib.c"].facts.size == len(TEXTS["lib.c"])


def test_packages_have_what_their_recipes_state(bill: Bill) -> None:
    image, lib = bill.packages
    assert (lib.name, lib.version, image.about) == ("lib", "1.5", {})
    assert lib.about["license"] == "MIT & BSD-3-Clause"
    assert lib.cpes[0] == "cpe:2.3:a:example:lib:1.5:*:*:*:*:*:*:*"  # with its variables expanded
    assert len(lib.cpes) == 2
    assert [bill.by_ref[ref].path for ref in lib.patches] == ["0001-fix.patch"]
    assert lib.is_delivered and len(lib.files) == 4


def test_patches_have_their_content(bill: Bill) -> None:
    patch = file_at(bill, "0001-fix.patch")
    assert (patch.purpose, patch.facts.size) == ("patch", len(TEXTS["fix.patch"]))


def test_tasks_have_inputs_and_outputs(bill: Bill) -> None:
    fetch, rootfs = task_in(bill, "lib:fetch"), task_in(bill, "image:rootfs")
    assert len(fetch.sources) == 3
    assert rootfs.folders == task_in(bill, "lib:stage").outputs
    assert rootfs.after == (task_in(bill, "lib:stage").ref,)
    patch = task_in(bill, "lib:patch")
    assert patch.folders == (f"workdir:{task_in(bill, 'lib:unpack').task_hash}",)
    assert patch.sources[0].startswith("patch:")
    assert (patch.outputs, patch.has_read) == ((), False)
    assert patch.began is not None and patch.ended is not None and patch.began <= patch.ended
    assert len(fetch.toolchain) == 40


def test_incomplete_reads_are_stated(bill: Bill) -> None:
    made = task_in(bill, "lib:make")
    assert (made.has_read, made.problem) == (True, "incomplete: no sandbox")


def test_licenses_are_those_of_source_files(tiny: Tiny) -> None:
    bill = bill_of(tiny, "lib:fetch")
    (lib,) = bill.packages
    assert lib.licenses == ("GPL-2.0-only",)


def test_own_inputs_have_no_notes(tiny: Tiny) -> None:
    graph = graph_of(tiny)
    names = [name for name, _ in own_inputs(run_of(graph, "lib:fetch"), "source")]
    assert names == ["folder", "lib.c", "lib.tar.gz"]
