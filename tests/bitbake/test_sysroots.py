"""Sysroots of BitBake recipes, composed without BitBake from folders in the form of OE-core's."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.bitbake.messages import read_sysroots_body
from prov.bitbake.sysroots import compose, composed
from prov.errors import SysrootConflict
from prov.store.repository import Store
from prov.worktree.checkout import _Checkout
from prov.worktree.pool import STAGED

TOKEN = "FIXMESTAGINGDIRHOST"
Files = Mapping[str, str]


class Place:
    """A TMPDIR with staged files of recipes, and the WORKDIR of one recipe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store.create(root / "store")
        self.workdir = root / "work" / "app"
        self.sysroot = self.workdir / "recipe-sysroot-native"
        self.lists: list[str] = []

    def stage(self, recipe: str, files: Files, version: int = 1) -> None:
        """Stage files of a recipe as sstate.bbclass does: folder, manifest, and list of files with
        tokens.
        """
        folder = self.root / "components" / recipe
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            os.utime(file, (1_000_000_000 + version, 1_000_000_000 + version))
        paths = sorted(folder.rglob("*"), key=lambda path: path.is_dir())
        marked = [path for path in paths if path.is_file() and TOKEN in path.read_text()]
        manifest = self.root / "control" / f"manifest-{recipe}"
        manifest.parent.mkdir(exist_ok=True)
        manifest.unlink(missing_ok=True)
        manifest.write_text("".join(f"{path}{'/' * path.is_dir()}\n" for path in paths))
        (folder / "fixmepath").write_text(
            "".join(f"sysroot-destdir/{path.relative_to(folder)}\n" for path in marked)
        )

    def compose(self, *recipes: str) -> None:
        packages = [
            [name, f"{self.root}/components/{name}", f"{self.root}/control/manifest-{name}"]
            for name in recipes
        ]
        words = [[TOKEN, str(self.sysroot)]]
        sysroot = {
            "directory": str(self.sysroot),
            "packages": packages,
            "fixmes": words,
            "lists": self.lists,
        }
        compose_all(self.store, sysroot)

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.sysroot)): path.read_text()
            for path in self.sysroot.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


def compose_all(store: Store, *sysroots: Mapping[str, object]) -> None:
    """Compose sysroots from a task's request."""
    body = json.dumps({"sysroots": sysroots}).encode()
    compose(store, read_sysroots_body(body)["sysroots"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


A = {
    "usr/bin/a": "#!/bin/sh\n",
    "usr/include/a.h": "#define A\n",
    "usr/lib/a/where": f"{TOKEN}/usr/lib\n",
}
B = {"usr/bin/b": "b\n", "usr/include/b.h": "#define B\n"}


def test_files_are_hardlinks_with_their_mtimes_and_tokens_are_replaced(place: Place) -> None:
    place.stage("a", A)
    place.stage("b", B)
    place.compose("a", "b")
    staged, here = place.root / "components/a/usr/include/a.h", place.sysroot / "usr/include/a.h"
    assert (here.stat().st_ino, here.stat().st_mtime) == (staged.stat().st_ino, 1_000_000_001)
    assert place.files() == {**A, **B, "usr/lib/a/where": f"{place.sysroot}/usr/lib\n"}
    assert TOKEN in (place.root / "components/a/usr/lib/a/where").read_text()
    with place.store.objects.writer() as writer:
        assert set(composed(place.store, writer, place.workdir)) == {"native"}


def test_all_kinds_of_entries(place: Place) -> None:
    place.stage(
        "a",
        {
            "usr/lib/list": "x\n",
            "usr/lib/empty-file": "",
            "usr/lib/sealed": "s\n",
            "usr/lib/set": "u\n",
        },
    )
    folder = place.root / "components/a/usr/lib"
    os.link(folder / "list", folder / "again")
    os.symlink("list", folder / "current")
    os.symlink("nowhere", folder / "dangling")
    (folder / "empty").mkdir(mode=0o700)
    (folder / "sealed").chmod(0o444)
    (folder / "set").chmod(0o4755)
    manifest = place.root / "control/manifest-a"
    more = "".join(f"{folder}/{name}\n" for name in ("again", "current", "dangling", "empty/"))
    manifest.write_text(manifest.read_text() + more)
    place.compose("a")
    here = place.sysroot / "usr/lib"
    assert (here / "again").stat().st_ino == (here / "list").stat().st_ino
    assert (os.readlink(here / "current"), os.readlink(here / "dangling")) == ("list", "nowhere")
    assert stat.S_IMODE((here / "empty").stat().st_mode) == 0o700
    assert [stat.S_IMODE((here / name).stat().st_mode) for name in ("sealed", "set")] == [
        0o444,
        0o4755,
    ]
    assert (here / "empty-file").read_bytes() == b""


def test_equal_files_share_no_inode_unless_they_were_staged_as_links(place: Place) -> None:
    """Writing to one must not change the others, as with staging.bbclass."""
    same = {"usr/share/a/one": "same\n", "usr/share/a/two": "same\n", "usr/lib/one": "same\n"}
    place.stage("a", same)
    os.link(place.root / "components/a/usr/lib/one", place.root / "components/a/usr/lib/linked")
    manifest = place.root / "control/manifest-a"
    manifest.write_text(manifest.read_text() + f"{place.root}/components/a/usr/lib/linked\n")
    place.stage("b", {"usr/share/b/one": "same\n"})
    place.compose("a", "b")
    inodes = {
        path: (place.sysroot / path).stat().st_ino
        for path in (*same, "usr/share/b/one", "usr/lib/linked")
    }
    assert inodes["usr/lib/linked"] == inodes["usr/lib/one"]
    assert len(set(inodes.values())) == len(inodes) - 1
    staged = {
        (place.root / "components" / path[10] / path).stat().st_ino
        for path in inodes
        if path[:10] == "usr/share/"
    }
    assert staged < set(inodes.values())
    other = place.workdir / "recipe-sysroot"
    place.stage("c", same)
    where = ["c", f"{place.root}/components/c", f"{place.root}/control/manifest-c"]
    contents = {"directory": str(other), "packages": [where], "fixmes": [], "lists": []}
    compose_all(place.store, contents)
    assert {(other / path).stat().st_ino for path in same}.isdisjoint(inodes.values())


def test_files_outside_the_manifest_are_not_staged(place: Place) -> None:
    place.stage("a", A)
    (place.root / "components/a/usr/left-by-an-older-one").mkdir()
    (place.root / "components/a/usr/bin/a.pyc").write_text("written when it ran\n")
    place.compose("a")
    assert not (place.sysroot / "usr/left-by-an-older-one").exists()
    assert set(place.files()) == set(A)


def test_files_of_tasks_stay_unless_a_staged_file_replaces_them(place: Place) -> None:
    place.stage("a", A)
    place.compose("a")
    for path in ("usr/include/made.h", "made/by/a-task", "usr/bin/b"):
        file = place.sysroot / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine\n")
    place.stage("b", B)
    place.compose("a", "b")
    assert place.files()["usr/bin/b"] == "b\n"
    place.compose("b")
    assert place.files() == {**B, "usr/include/made.h": "mine\n", "made/by/a-task": "mine\n"}
    place.compose()
    assert place.files() == {"usr/include/made.h": "mine\n", "made/by/a-task": "mine\n"}


def test_folder_is_replaced_by_a_file_and_file_by_a_folder(place: Place) -> None:
    place.stage("a", {"usr/share/thing": "a file\n"})
    place.compose("a")
    (place.sysroot / "usr/share/thing").unlink()
    (place.sysroot / "usr/share/thing/inside").mkdir(parents=True)
    (place.sysroot / "usr/share/other").write_text("a file\n")
    place.stage("a", {"usr/share/thing": "another\n", "usr/share/other/inside": "x\n"}, version=2)
    place.compose("a")
    assert place.files() == {"usr/share/thing": "another\n", "usr/share/other/inside": "x\n"}


def test_symlink_out_of_the_sysroot_is_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.h").write_text("not ours\n")
    place.sysroot.mkdir(parents=True)
    (place.sysroot / "usr").symlink_to(outside)
    place.stage("a", {"usr/a.h": "staged\n"})
    place.compose("a")
    assert (outside / "a.h").read_text() == "not ours\n"
    assert place.files() == {"usr/a.h": "staged\n"}


def test_files_behind_a_symlink_are_not_removed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.h").write_text("not ours\n")
    place.sysroot.mkdir(parents=True)
    (place.sysroot / "usr").symlink_to(outside)
    listed = place.root / "a.list"
    listed.write_text("recipe-sysroot-native/usr/a.h\n")
    place.lists = [str(listed)]
    place.compose()
    assert (outside / "a.h").read_text() == "not ours\n"


def test_two_recipes_that_stage_one_path(place: Place) -> None:
    place.stage("a", A)
    place.compose("a")
    place.stage("b", {"usr/include/a.h": "#define B\n"})
    before = place.files()
    with pytest.raises(SysrootConflict, match=r"usr/include/a\.h: a and b stage different content"):
        place.compose("a", "b")
    assert place.files() == before
    place.stage("b", {"usr/include/a.h": A["usr/include/a.h"]}, version=7)
    place.compose("a", "b")
    assert place.files() == before


@pytest.mark.parametrize("how", ["written", "gone", "mode"])
def test_changed_file_of_the_pool_is_replaced(place: Place, how: str) -> None:
    place.stage("a", A)
    place.compose("a")
    file = place.sysroot / "usr/include/a.h"
    match how:
        case "written":
            with open(file, "a") as stream:
                stream.write("#error\n")
        case "gone":
            file.unlink()
        case "mode":
            file.chmod(0o600)
    place.stage("b", B)
    place.compose("a", "b")
    assert place.files()["usr/include/a.h"] == A["usr/include/a.h"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_files_without_a_state_are_removed_by_their_list(place: Place) -> None:
    """staging.bbclass placed them, or the cache was deleted."""
    place.stage("a", A)
    place.compose("a")
    shutil.rmtree(place.store.cache)
    (place.sysroot / "mine").write_text("mine\n")
    listed = place.root / "a.list"
    listed.write_text("".join(f"recipe-sysroot-native/{path}\n" for path in A))
    place.lists = [str(listed)]
    place.stage("b", B)
    place.compose("b")
    assert place.files() == {**B, "mine": "mine\n"}


def test_files_are_copied_if_they_cannot_be_linked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    place.stage("a", A)
    place.compose("a")
    assert place.files() == {**A, "usr/lib/a/where": f"{place.sysroot}/usr/lib\n"}
    assert (place.sysroot / "usr/include/a.h").stat().st_mtime == 1_000_000_001


# any sequence of steps

PATHS = ("usr/bin/x", "usr/bin/y", "usr/lib/x", "usr/lib/deep/er/z", "etc")
RECIPES = ("a", "b", "c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("stage"), st.sampled_from(RECIPES), st.integers(1, 3)),
        st.tuples(st.just("compose"), st.frozensets(st.sampled_from(RECIPES)), st.just(0)),
        st.tuples(st.just("kill"), st.frozensets(st.sampled_from(RECIPES)), st.integers(0, 4)),
        st.tuples(st.just("damage"), st.sampled_from(PATHS), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.just("staged"), st.just(0)),
    ),
    max_size=12,
)


class _Killed(BaseException):
    pass


def files_of(recipe: str, version: int) -> dict[str, str]:
    """Return the files that a version of a recipe stages.

    Recipes have no path in common. Some files are the same in all versions.
    """
    own = {f"usr/share/{recipe}/{number}": f"{recipe} {number}\n" for number in range(version)}
    return {
        **own,
        f"usr/bin/{recipe}": f"{recipe} {version}\n",
        f"usr/lib/{recipe}.pc": f"{TOKEN}/{version}\n",
    }


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_after_any_steps_a_sysroot_has_the_requested_files(
    steps: list[tuple[str, object, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        staged = dict.fromkeys(RECIPES, 1)
        for recipe in RECIPES:
            place.stage(recipe, files_of(recipe, 1))
        for kind, what, number in [*steps, ("compose", frozenset(RECIPES), 0)]:
            if kind == "stage":
                staged[str(what)] = number
                place.stage(str(what), files_of(str(what), number), version=number)
            elif kind == "damage":
                _damage(place, f"usr/bin/{RECIPES[number]}")
            elif kind == "forget":
                shutil.rmtree(place.store.cache / str(what), ignore_errors=True)
            elif kind == "kill":
                _compose_with_kill(place, sorted(what), number)  # type: ignore[call-overload]
            else:
                wanted = sorted(what)  # type: ignore[call-overload]
                place.compose(*wanted)
                expected = {
                    path: text
                    for each in wanted
                    for path, text in files_of(each, staged[each]).items()
                }
                fixed = {
                    path: text.replace(TOKEN, str(place.sysroot)) for path, text in expected.items()
                }
                assert place.files() == fixed


def _damage(place: Place, path: str) -> None:
    """Replace a file, as a faulty task might do. It may be a staged file."""
    file = place.sysroot / path
    if file.exists():
        file.unlink()
        file.write_text("damaged\n")


def _compose_with_kill(place: Place, recipes: list[str], after: int) -> None:
    """Compose, and stop after some folders, as if killed."""
    visit, left = _Checkout.folder, [after]

    def counted(self: _Checkout, fd: int, folder: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        visit(self, fd, folder)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, suppress(_Killed):
        patch.setattr(_Checkout, "folder", counted)
        place.compose(*recipes)


def test_pool_is_intact_afterwards(place: Place) -> None:
    from prov.fsck.disk import check_disk

    place.stage("a", A)
    place.compose("a")
    assert list((place.store.cache / STAGED).glob("??/*"))
    assert [each for each in check_disk(place.store, thorough=True) if not each.harmless] == []
