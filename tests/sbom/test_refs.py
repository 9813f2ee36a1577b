"""Refs are texts without characters that formats forbid."""

from __future__ import annotations

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.sbom.origins import Origin
from prov.sbom.refs import file_ref, image_ref, input_ref, package_ref, text_of
from prov.sbom.task_graph import TaskId

TASK = TaskId(TaskKey("lib:make"), TaskHash(b"\xab" * 20))
HASH = "ab" * 20


def test_refs_name_the_task_and_the_path() -> None:
    assert file_ref(Origin(TASK, b"a/b c", b"")) == f"made:{HASH}/a/b%20c"
    assert file_ref(Origin(TASK, b"a", b"", is_start=True)) == f"start:{HASH}/a"
    assert image_ref(TASK, b"\xff#") == f"file:{HASH}/%FF%23"
    assert input_ref("patch", TASK, "x?") == f"patch:{HASH}/x%3F"
    assert package_ref("lib++") == "package:lib%2B%2B"


def test_paths_are_valid_unicode() -> None:
    assert text_of("a/é".encode()) == "a/é"
    assert text_of(b"a\xff") == r"a\xff"
