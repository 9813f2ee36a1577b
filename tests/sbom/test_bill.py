"""Values of a bill that formats share."""

from __future__ import annotations

import dataclasses

import pytest

from prov.records.keys import TaskKey
from prov.sbom.bill import Bill, BilledSource, BilledTask
from prov.store.objects import object_id
from tests.sbom.project import file_at


@pytest.mark.parametrize(
    ("unknown", "problem", "gaps"),
    [
        ((), "", ""),
        ((), "no list", "files read: no list"),
        (("a:b", "c:d"), "", "not recorded in this store: a:b, c:d"),
        (("a:b",), "x", "not recorded in this store: a:b; files read: x"),
    ],
)
def test_gaps(unknown: tuple[str, ...], problem: str, gaps: str) -> None:
    keys = tuple(map(TaskKey, unknown))
    task = BilledTask(
        "", TaskKey("a:b"), "", "", began=None, ended=None, problem=problem, unknown=keys
    )
    assert task.gaps == gaps


def test_swhids() -> None:
    assert BilledSource("", "", git_commit="ab").swhid == "swh:1:rev:ab"
    assert BilledSource("", "", tree="cd").swhid == "swh:1:dir:cd"
    assert BilledSource("", "", sha256="ef").swhid == ""


def test_gitoids_are_ids_of_git(bill: Bill) -> None:
    file = file_at(bill, "rootfs/usr/empty")
    sha1, sha256 = file.gitoids
    assert sha1 == f"gitoid:blob:sha1:{object_id('blob', b'').hex()}"
    # `git hash-object -t blob /dev/null` in a repository of the SHA-256 format
    empty = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
    assert sha256 == f"gitoid:blob:sha256:{empty}"


@pytest.mark.parametrize(
    ("key", "is_image"),
    [("a:image", True), ("a:do_rootfs", True), ("a:do_image_wic", True), ("image:package", False)],
)
def test_images(bill: Bill, key: str, is_image: bool) -> None:
    assert dataclasses.replace(bill, targets=(TaskKey(key),)).is_image is is_image


def test_tokens_are_described(bill: Bill) -> None:
    assert all(file.description == "" for file in bill.files)
