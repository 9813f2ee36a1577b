"""A directory of the user (`ours` is False), in which prov deletes only its own files."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.errors import SysrootConflict, SysrootError
from prov.store.repository import Store
from prov.sysroot.postinst import ScriptRunner
from prov.worktree.merge import Owned
from tests.sysroot.conftest import Composer, File, Folder, Link, fingerprint, in_child
from tests.trees import describe, in_order


@pytest.fixture
def packages(composer: Composer) -> list[Owned]:
    return [
        composer.owned(
            "a",
            {"usr/lib/a": "a", "usr/bin/a": "#!", "only-a/deep/f": "x", "usr/link": Link(b"lib")},
        ),
        composer.owned(
            "b", {"usr/lib/b": "b", "usr/bin/su": File(b"su", 0o4755), "only-b/empty": Folder()}
        ),
        composer.owned("c", {"usr/lib/c": "c", "usr/share/c": File(b"")}),
    ]


def place(top: Path, what: str) -> None:
    path = top / what.removeprefix("->")
    path.parent.mkdir(parents=True, exist_ok=True)
    if what.endswith("/"):
        path.mkdir()
    elif what.startswith("->"):
        path.symlink_to("/nowhere")
    else:
        path.write_text("mine")


STRANGERS = [
    "mine",
    "usr/lib/mine",
    "usr/lib/b",
    "only-a/deep/mine",
    "mine/",
    "mine/deep/f",
    "->mine",
    "->usr/lib/b",
    ".git",
]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_directory_with_a_foreign_file_is_refused_and_unchanged(
    composer: Composer, packages: list[Owned], tmp_path: Path, stranger: str
) -> None:
    here = tmp_path / "root"
    composer.compose(here, packages[:1], ours=False)
    place(here, stranger)
    before = fingerprint(here)
    for wanted in (packages[:1], packages, packages[1:], []):
        with pytest.raises(SysrootError) as raised:
            composer.compose(here, wanted, ours=False)
        added = stranger.removeprefix("->").partition("/deep/f")[0].rstrip("/")
        assert f"since it was composed: {added}" in str(raised.value)
        assert raised.value.hint
    assert fingerprint(here) == before


@pytest.mark.parametrize("stranger", STRANGERS)
def test_an_uncomposed_directory_is_refused_and_unchanged(
    composer: Composer, packages: list[Owned], tmp_path: Path, stranger: str
) -> None:
    place(tmp_path / "root", stranger)
    before = fingerprint(tmp_path / "root")
    with pytest.raises(SysrootError, match="root is not empty and was not composed by prov"):
        composer.compose(tmp_path / "root", packages, ours=False)
    assert fingerprint(tmp_path / "root") == before


def test_an_empty_directory_counts_as_missing(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        composer.compose(tmp_path / name, packages, ours=False)
    assert describe(tmp_path / "empty") == describe(tmp_path / "none")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written to": lambda top: (top / "usr/lib/a").write_text("mine"),
    "replaced": in_order(
        lambda top: (top / "usr/lib/a").unlink(),
        lambda top: (top / "usr/lib/a").write_text("mine"),
    ),
    "made a folder": in_order(
        lambda top: (top / "usr/lib/a").unlink(),
        lambda top: (top / "usr/lib/a").mkdir(),
    ),
    "given a mode": lambda top: (top / "usr/lib/a").chmod(0o600),
    "a folder given a mode": lambda top: (top / "only-a/deep").chmod(0o700),
    "a link turned": in_order(
        lambda top: (top / "usr/link").unlink(),
        lambda top: (top / "usr/link").symlink_to("share"),
    ),
    "a folder made a link": in_order(
        lambda top: shutil.rmtree(top / "only-a"),
        lambda top: (top / "only-a").symlink_to("usr"),
    ),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_directory_with_a_changed_file_is_refused_and_unchanged(
    composer: Composer, packages: list[Owned], tmp_path: Path, how: str
) -> None:
    here = tmp_path / "root"
    composer.compose(here, packages, ours=False)
    CHANGES[how](here)
    before = fingerprint(here)
    for wanted in (packages, packages[:1], packages[1:]):
        with pytest.raises(SysrootError, match="since it was composed"):
            composer.compose(here, wanted, ours=False)
    assert fingerprint(here) == before


def test_it_is_updated_in_place_otherwise(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    for number, wanted in enumerate(
        [packages[:1], packages, packages[1:], packages[:2], [], packages]
    ):
        pair = composer.compose(tmp_path / "root", wanted, ours=False)
        assert pair == composer.compose(tmp_path / str(number), wanted, ours=False)
        assert describe(tmp_path / "root") == describe(tmp_path / str(number))


def test_a_conflict_leaves_it_alone(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    composer.compose(tmp_path / "root", packages, ours=False)
    before = fingerprint(tmp_path / "root")
    with pytest.raises(SysrootConflict):
        composer.compose(
            tmp_path / "root", [*packages, composer.owned("d", {"usr/lib/a": "other"})], ours=False
        )
    assert fingerprint(tmp_path / "root") == before
    composer.compose(tmp_path / "root", packages, ours=False)
    assert fingerprint(tmp_path / "root") == before


def test_a_file_where_the_directory_should_be_stays(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    (tmp_path / "root").write_text("mine")
    with pytest.raises((SysrootError, OSError)):
        composer.compose(tmp_path / "root", packages, ours=False)
    assert (tmp_path / "root").read_text() == "mine"


def test_an_interrupted_composition_is_finished(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    """For packages whose merge creates no new tree."""
    for there in (None, packages[1:2]):
        for steps in itertools.count():
            here = tmp_path / f"{there is None}{steps}"
            if there is not None:
                composer.compose(here, there, ours=False)

            def compose_again(own: Composer, here: Path = here) -> object:
                return own.compose(here, packages[:1], ours=False)

            if in_child(composer, compose_again, dies_before=steps) == 0:
                break
            composer.compose(here, packages[:1], ours=False)
            assert composer.check(here) == []
        assert steps > 10


def test_a_foreign_file_in_an_interrupted_sysroot_is_refused(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    here = tmp_path / "root"
    composer.compose(here, packages[:1], ours=False)
    assert in_child(
        composer, lambda own: own.compose(here, packages[1:2], ours=False), dies_before=6
    )
    for name in ("mine", "usr/lib/mine"):
        (here / name).write_text("mine")
        with pytest.raises(SysrootError, match=f"since it was composed: {name}"):
            composer.compose(here, packages[1:2], ours=False)
        assert (here / name).read_text() == "mine"
        (here / name).unlink()
    composer.compose(here, packages[1:2], ours=False)
    assert composer.check(here) == []


def test_a_file_of_a_script_is_not_foreign(
    composer: Composer, packages: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    script = composer.owned(
        "s", {"usr/bin/postinst-s": "#!/bin/sh\necho made > made; echo more >> usr/lib/a\n"}
    )
    here = tmp_path / "root"
    for wanted in ([*packages, script], [*packages, script], packages[:1], [packages[0], script]):
        composer.compose(here, wanted, run=run, ours=False)
    assert (here / "made").read_text() == "made\n"
    assert (here / "usr/lib/a").read_text() == "amore\n"
    (here / "made").write_text("mine")
    with pytest.raises(SysrootError, match="since it was composed: made"):
        composer.compose(here, packages, run=run, ours=False)
    assert (here / "made").read_text() == "mine"


def test_a_process_that_waited_sees_the_new_sysroot(composer: Composer, tmp_path: Path) -> None:
    first, second = (
        composer.owned("first", {"usr/a": "1"}),
        composer.owned("second", {"usr/b": "2"}),
    )
    late = Composer(Store.open(composer.store.path))
    with late.store.objects.writer() as writer:
        composer.compose(tmp_path / "sysroot", [first, second], ours=False)
        late.sysroots.compose(writer, tmp_path / "sysroot", [second], ours=False)
    assert not (tmp_path / "sysroot/usr/a").exists()
