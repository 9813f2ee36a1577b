"""Input manifests name git's ids of inputs, and the manifests of these."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path

import pytest

from prov.sbom.bill import Bill
from prov.sbom.omnibor import encode
from tests.sbom.project import file_at


@pytest.fixture(scope="module")
def read(bill: Bill) -> Bill:
    """A bill in which lib:make read its sources, and image:rootfs two files."""
    sources = [file.ref for file in bill.files if file.purpose in ("patch", "source")]
    made = file_at(bill, "rootfs/usr/again").ref
    listed = {"lib:make": tuple(sources), "image:image": (made, *sources[:1])}
    tasks = [dataclasses.replace(task, read=listed.get(task.key, ())) for task in bill.tasks]
    return dataclasses.replace(bill, tasks=tuple(tasks))


def test_manifests_are_named_by_their_ids(read: Bill) -> None:
    files = encode(read)
    manifests = [name for name in files if name.startswith("manifests/gitoid_blob_sha256/")]
    assert manifests
    for name in manifests:
        data = files[name]
        digest = hashlib.sha256(b"blob %d\0" % len(data) + data).hexdigest()
        assert name == f"manifests/gitoid_blob_sha256/{digest[:2]}/{digest[2:]}"


@pytest.mark.process
def test_sha1_manifests_are_named_as_git_names_them(read: Bill, tmp_path: Path) -> None:
    for name, data in encode(read).items():
        if name.startswith("manifests/gitoid_blob_sha1/"):
            (tmp_path / "manifest").write_bytes(data)
            command = ["git", "hash-object", str(tmp_path / "manifest")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert name.replace("/", "").endswith(done.stdout.strip())


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_a_manifest_names_those_of_its_inputs(read: Bill, kind: str) -> None:
    files, prefix = encode(read), f"gitoid:blob:{kind}"
    targets = dict(line.split() for line in files["targets"].decode().splitlines())
    number = ("sha1", "sha256").index(kind)
    made, archive = (file_at(read, name) for name in ("rootfs/usr/again", "deploy/archive"))
    manifests = {}
    for file in (made, archive):
        digits = targets[file.gitoids[number]].removeprefix(f"{prefix}:")
        name = f"manifests/{prefix.replace(':', '_')}/{digits[:2]}/{digits[2:]}"
        manifests[file.path] = files[name].decode().splitlines()
    header, *lines = manifests["deploy/archive"]
    assert (header, lines) == (prefix, sorted(lines))
    used = made.gitoids[number].removeprefix(f"{prefix}:")
    own = targets[made.gitoids[number]].removeprefix(f"{prefix}:")
    assert f"{used} manifest {own}" in lines
    assert len(lines) == 2


def test_files_without_known_inputs_have_no_manifest(bill: Bill) -> None:
    assert encode(bill) == {"targets": b""}  # without a sandbox, no list of reads is complete


def test_files_that_name_each_other_end(read: Bill) -> None:
    first, second, *others = read.files
    looped = (
        dataclasses.replace(first, sources=(second.ref,)),
        dataclasses.replace(second, sources=(first.ref,)),
        *others,
    )
    assert encode(dataclasses.replace(read, files=looped))["targets"]
