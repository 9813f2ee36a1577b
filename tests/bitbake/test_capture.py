"""Names of tasks and objects in requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prov.bitbake.capture import BuildTask, Packed, read_faked
from prov.errors import ProvError
from prov.worktree.attributes import Pair
from prov.worktree.scan import Faked
from tests.bitbake.test_messages import NAMES


@pytest.mark.parametrize(
    ("names", "key", "shared_key"),
    [
        ({}, "zlib:do_compile", "zlib:do_compile"),
        ({"mc": "default"}, "zlib:do_compile", "zlib:do_compile"),
        ({"mc": "musl"}, "mc.musl.zlib:do_compile", "zlib:do_compile"),
    ],
)
def test_multiconfig_is_in_a_tasks_key_but_not_in_that_of_shared_state(
    names: dict[str, str], key: str, shared_key: str
) -> None:
    task = BuildTask.of(NAMES | names)  # type: ignore[arg-type]
    assert (task.key, task.shared_key) == (key, shared_key)


@pytest.mark.parametrize("name", ["failed", "a b", "..", "a/b", "\udcff", ""])
def test_recipe_that_no_ref_can_name_is_rejected(name: str) -> None:
    with pytest.raises(ProvError):
        BuildTask.of(NAMES | {"pn": name})  # type: ignore[arg-type]


def test_workdirs_of_two_build_directories_have_different_refs() -> None:
    paths = ["/one/work/1.3", "/two/work/1.3", "/two/work/1.3~rc"]
    refs = [BuildTask.of(NAMES | {"workdir": path}).ref for path in paths]  # type: ignore[arg-type]
    assert len(set(refs)) == 3
    assert [ref.rpartition("-")[0] for ref in refs] == [
        "refs/prov/workdir/core2-64/zlib/1.3",
        "refs/prov/workdir/core2-64/zlib/1.3",
        "refs/prov/workdir/core2-64/zlib/1.3_rc",
    ]
    assert Path(paths[0]).name == "1.3"


@pytest.mark.parametrize("attributes", [None, b"\x03" * 20])
@pytest.mark.parametrize("dated", [None, b"\x04" * 20])
def test_object_is_restored_from_its_ids(attributes: bytes | None, dated: bytes | None) -> None:
    packed = Packed(b"\x01" * 20, Pair(b"\x02" * 20, attributes), dated, b"\x05" * 20)
    assert Packed.of(packed.ids) == packed
    assert Packed.of([]) is None


def test_owners_below_a_top_replace_the_remembered_ones() -> None:
    root = Faked(1, 0o100644, (0, 0), 0, ())
    remembered = {b"image/old": root, b"image": root, b"images/a": root}
    body = json.dumps([["image"], [["image/new", 2, 0o100600, 0, 5, 0, [["user.x", "ff"]]]]])
    assert read_faked(remembered, body.encode()) == {
        b"images/a": root,
        b"image/new": Faked(2, 0o100600, (0, 5), 0, ((b"user.x", b"\xff"),)),
    }
    assert read_faked(remembered, b'[["."], []]') == {}
