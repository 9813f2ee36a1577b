"""Names of builds: the last one, labels, ids and earlier builds."""

from __future__ import annotations

import pytest

from prov.errors import NameUnknown
from prov.history.builds import find_build, is_build, is_build_name, list_builds, short_id
from prov.records.build_list import BuildList
from prov.records.labels import set_label, set_pin
from prov.store.repository import Store
from tests.history.recorded import Recorder


@pytest.fixture
def three(recorder: Recorder) -> list[BuildList]:
    run = recorder.run("app:make", {"script": "make"}, {"app": "1"})
    return [recorder.build(run, facts={"targets": f"t{number}"}) for number in range(3)]


def test_names_of_builds(store: Store, three: list[BuildList]) -> None:
    set_label(store, "release", three[1])
    names = {
        "": 2,
        "latest": 2,
        "builds": 2,
        "latest~0": 2,
        "~": 1,
        "latest^": 1,
        "latest~2": 0,
        "latest^~": 0,
        "release": 1,
        "release~1": 0,
        three[0].commit.hex(): 0,
        short_id(three[1].commit): 1,
        f"{short_id(three[2].commit)}~2": 0,
        "refs/heads/builds": 2,
    }
    assert {name: find_build(store, name).commit for name in names} == {
        name: three[number].commit for name, number in names.items()
    }


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("latest~3", "builds precede latest"),
        ("latest~999999999", "builds precede latest"),
        ("lastest", "no build is named "),
        ("ffffffff", "no build is named "),
        ("a b", "no build is named "),
        ("--all", "no build is named "),
        ("release..x", "no build is named "),
    ],
)
def test_unknown_names(store: Store, three: list[BuildList], name: str, problem: str) -> None:
    with pytest.raises(NameUnknown, match=problem):
        find_build(store, name)
    assert not is_build_name(store, name)


def test_nearest_name_is_the_hint(store: Store, three: list[BuildList]) -> None:
    set_label(store, "release-1", three[0])
    with pytest.raises(NameUnknown) as error:
        find_build(store, "relase-1")
    assert error.value.hint == "did you mean release-1?"


def test_a_commit_that_is_not_a_build(store: Store, recorder: Recorder) -> None:
    run = recorder.run("app:make", {"script": "make"}, {"app": "1"})
    build = recorder.build(run)
    assert is_build(store, build.commit)
    assert not is_build(store, run.commit)
    with pytest.raises(NameUnknown, match="commit is not a build"):
        find_build(store, run.commit.hex())


def test_no_build_is_recorded(store: Store) -> None:
    with pytest.raises(NameUnknown, match="no build is recorded"):
        find_build(store, "latest")
    assert list_builds(store, 10) == []


def test_list_has_the_newest_first_with_labels_and_pins(
    store: Store, three: list[BuildList]
) -> None:
    set_label(store, "release", three[1])
    set_pin(store, three[1], keep=True)
    rows = list_builds(store, 2)
    assert [row.id for row in rows] == [short_id(build.commit) for build in three[:0:-1]]
    assert [(row.labels, row.pinned) for row in rows] == [((), False), (("release",), True)]
    assert (rows[0].took, rows[0].facts["targets"]) == (1.5, "t2")
