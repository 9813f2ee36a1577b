"""Sysroots composed by prov, with OE-core's own classes: they are the same as without prov."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.bitbake.staged import (
    RECIPES,
    Directories,
    Level,
    Staged,
    Tree,
    live,
    staged_below,
    started,
)
from tests.bitbake.story import warnings

pytestmark = [pytest.mark.process, live]

SYSROOT = "app:do_prepare_recipe_sysroot"
INDEX = "usr/share/tool/index"
"""A file that a postinst script writes in the sysroot."""
ALONE = 'PROV_CACHE = "0"'
"""Compose sysroots, but do not keep shared state in the store."""
CHANGED = 'WORDS_TEXT = "other"'


def sysroots(build: Staged) -> dict[str, Tree]:
    """Return the content of the sysroots of `app`."""
    trees = {
        "target": build.tree(build.sysroot(), "sysroot.lock"),
        "native": build.tree(build.native_sysroot()),
    }
    return {
        name: {path: entry for path, entry in tree.items() if not path.startswith("installeddeps")}
        for name, tree in trees.items()
    }


def timeless(trees: dict[str, Tree]) -> dict[str, Tree]:
    return {
        name: {path: entry._replace(mtime=None) for path, entry in tree.items()}
        for name, tree in trees.items()
    }


def installeddeps(build: Staged, recipe: str = "app") -> dict[str, str]:
    """Return the entries of `installeddeps` by name: content of files, targets of symlinks."""
    folder = build.native_sysroot(recipe) / "installeddeps"
    found = {}
    for path in sorted(folder.iterdir()):
        text = os.readlink(path) if path.is_symlink() else path.read_text()
        lines = text.replace(str(build.root), "@TOP@").splitlines()
        if path.name.startswith("index."):
            lines = [" ".join([lines[0].split()[0], *sorted(lines[0].split()[1:])]), *lines[1:]]
        found[path.name] = "\n".join(lines)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Staged, Staged]]:
    """Two build directories with a build of `app`: without prov, and with composed sysroots."""
    with staged_below(tmp_path_factory.mktemp("sysroots")) as make:
        plain, composed = make("plain", level=Level.PLAIN), make("composed", level=Level.SYSROOTS)
        for build in (plain, composed):
            assert warnings(build.build(*RECIPES)) == []
        yield plain, composed
        composed.is_clean()


def test_sysroots_equal_those_of_a_build_without_prov(made: tuple[Staged, Staged]) -> None:
    plain, composed = made
    assert timeless(sysroots(composed)) == timeless(sysroots(plain))
    assert composed.seen() == plain.seen().replace(str(plain.root), str(composed.root))
    assert INDEX in sysroots(composed)["native"]
    # make sure that the sysroot is not empty
    where = composed.native_sysroot() / "usr/lib/words/where"
    assert where.read_text() == f"words={composed.native_sysroot()}/usr/lib/words/list\n"


def test_files_are_hardlinks_to_the_staged_ones(made: tuple[Staged, Staged]) -> None:
    """They have the same mtimes, which make depends on."""
    for path in ("usr/include/words.h", "usr/lib/words/list", "usr/share/sealed"):
        here = (made[1].native_sysroot() / path).stat()
        there = (made[1].component("words-native") / path).stat()
        assert (here.st_ino, here.st_mtime_ns) == (there.st_ino, there.st_mtime_ns)


def test_installeddeps_equals_that_of_staging_bbclass(made: tuple[Staged, Staged]) -> None:
    plain, composed = made
    for recipe in RECIPES:
        assert installeddeps(composed, recipe) == installeddeps(plain, recipe)
    assert "words-native.complete" in installeddeps(composed)


def test_blame_finds_the_task_that_staged_a_file(made: tuple[Staged, Staged]) -> None:
    said = made[1].ask("blame", "app:do_compile@sysroot-native/usr/include/words.h")
    steps = [line.split()[0] for line in said.splitlines() if line.startswith("  words-native:")]
    assert steps == ["words-native:do_populate_sysroot", "words-native:do_install"]


def test_no_hash_depends_on_it(made: tuple[Staged, Staged]) -> None:
    assert made[1].signatures() == made[0].signatures()


def test_enabling_and_disabling_reruns_nothing(staged: Directories) -> None:
    """prov and staging.bbclass continue with each other's sysroots, and apply changes equally."""
    build, fresh = staged(level=Level.PLAIN), staged("fresh", level=Level.PLAIN)
    build.build()
    for level in (Level.SYSROOTS, Level.PLAIN, Level.SYSROOTS):
        build.switch(level)
        assert started(build.build()) == set()
        text = f'WORDS_TEXT = "{level} {build.builds()}"'
        assert SYSROOT in started(build.build(conf=text))
        fresh.lose()
        fresh.build(conf=text)
        assert timeless(sysroots(build)) == timeless(sysroots(fresh))
        assert installeddeps(build).keys() == installeddeps(fresh).keys()
        build.build()


@pytest.mark.parametrize("conf", ["", ALONE], ids=["with the cache", "alone"])
def test_changed_files_are_replaced_and_files_of_tasks_stay(staged: Directories, conf: str) -> None:
    build = staged(level=Level.SYSROOTS)
    build.build(conf=conf)
    before = build.tree(build.native_sysroot())
    own = build.native_sysroot() / "usr/lib/words/made-by-a-task"
    own.write_text("mine\n")
    build.build(conf=f"{conf}\n{CHANGED}")
    after = build.tree(build.native_sysroot())
    assert own.read_text() == "mine\n"
    assert '"other"' in after["usr/include/words.h"].content
    assert after["usr/bin/count"] == before["usr/bin/count"]
    assert '"other"' in build.seen()
    assert after["usr/lib/words/list"].content.startswith("other\n")
    seen = "app:do_compile@sysroot-native"
    lines = build.ask("diff", f"latest~1/{seen}", seen).splitlines()
    assert "M usr/include/words.h" in lines and not [line for line in lines if "count" in line]
    build.is_clean()


def test_files_of_removed_dependencies_are_deleted(staged: Directories) -> None:
    build = staged(level=Level.SYSROOTS)
    build.build()
    assert (build.sysroot() / "usr/share/base/base-config").exists()
    build.build(conf='APP_DEPENDS = "tool-native"')
    assert not list((build.sysroot() / "usr").rglob("*")) and "words-native" not in installeddeps(
        build
    )
    assert not (build.native_sysroot() / "usr/include/words.h").exists()
    assert (build.native_sysroot() / "usr/bin/count").exists()
    assert build.seen().splitlines()[0] == "app" and "WORDS" not in build.seen()
    build.build("-c", "prepare_recipe_sysroot", "app")
    assert (build.native_sysroot() / "usr/include/words.h").exists()


def test_task_with_more_dependencies_adds_only_their_files(staged: Directories) -> None:
    build = staged(level=Level.SYSROOTS)
    more = 'APP_CHECK_DEPENDS = "late-native:do_populate_sysroot"'
    build.build("app", "-c", "check", conf=more)
    found = (build.workdir() / "check/found").read_text().split()
    assert {"usr/share/late", "usr/bin/count", "usr/include/words.h"} <= set(found)
    assert "late-native" in installeddeps(build)["index.do_check"].splitlines()
    assert "late-native" not in installeddeps(build)["index.do_configure"].splitlines()
    build.build("app", "-c", "check")
    assert "usr/share/late" not in (build.workdir() / "check/found").read_text().split()
    assert (build.native_sysroot() / "usr/bin/count").exists()


def test_dependency_added_late_is_installed(staged: Directories) -> None:
    """An event handler adds it after that of staging.bbclass has run."""
    build = staged(level=Level.SYSROOTS)
    build.write(
        "classes/late.bbclass",
        "addhandler add_late\n"
        'add_late[eventmask] = "bb.event.RecipeTaskPreProcess"\n'
        "python add_late() {\n"
        "    if d.getVar('PN') == 'app':\n"
        "        d.setVarFlag('do_check', 'depends', 'late-native:do_populate_sysroot')\n"
        "}\n",
    )
    build.build("app", "-c", "check", conf='INHERIT += "late"')
    assert "usr/share/late" in (build.workdir() / "check/found").read_text().split()


@pytest.mark.parametrize("look", [("-n", "app"), ("-S", "none", "app"), ("-S", "printdiff", "app")])
def test_dry_run_deletes_nothing(staged: Directories, look: tuple[str, ...]) -> None:
    build = staged(level=Level.SYSROOTS)
    build.build()
    everything = build.tree(build.tmp, "cache", "log", "stamps")
    stamps = build.tree(build.tmp / "stamps")
    build.build(*look, conf=CHANGED)
    after = build.tree(build.tmp, "cache", "log", "stamps")
    assert after == everything
    assert stamps.keys() <= build.tree(build.tmp / "stamps").keys()
    assert started(build.build()) == set()


def test_dry_run_without_prov_deletes_staged_files(staged: Directories) -> None:
    """Otherwise the test before would prove nothing."""
    build = staged(level=Level.PLAIN)
    build.build()
    assert build.component("words-native").is_dir()
    build.build("-n", "app", conf=CHANGED)
    assert not (build.component("words-native") / "usr/include/words.h").exists()


def test_conflict_of_two_recipes_is_reported_before_anything_is_changed(
    staged: Directories,
) -> None:
    build = staged(level=Level.SYSROOTS)
    build.build()
    before = build.tree(build.native_sysroot(), "installeddeps")
    with _appended(build, "tool-native_2.0", "echo mine > ${D}${datadir}/sealed"):
        said = build.build(code=1)
    assert "usr/share/sealed: tool-native and words-native stage different content" in said
    assert build.tree(build.native_sysroot(), "installeddeps") == before
    build.build()
    assert build.tree(build.native_sysroot(), "installeddeps", INDEX) == {
        path: entry for path, entry in before.items() if path != INDEX
    }


def test_failing_script_fails_the_task_and_runs_again(staged: Directories) -> None:
    build = staged(level=Level.SYSROOTS)
    with _appended(build, "tool-native_2.0", "echo exit 3 >> ${D}${bindir}/postinst-tool"):
        said = build.build(code=1)
        assert "postinst-tool" in said and "do_prepare_recipe_sysroot" in said
        assert "postinst-tool" in build.build(code=1)
    build.build()
    assert (build.native_sysroot() / INDEX).exists()


def test_modified_file_is_replaced(staged: Directories) -> None:
    """All sysroots share the inode of a staged file, so a write to one changes all of them."""
    build = staged(level=Level.SYSROOTS)
    build.build()
    with open(build.native_sysroot() / "usr/include/words.h", "a") as stream:
        stream.write("#error\n")
    assert "#error" in (build.component("words-native") / "usr/include/words.h").read_text()
    shutil.rmtree(build.workdir())
    build.build("-C", "prepare_recipe_sysroot", "app")
    assert "#error" not in build.seen()
    assert "#error" not in (build.native_sysroot() / "usr/include/words.h").read_text()


def test_killed_writer_does_not_damage_sysroots(staged: Directories) -> None:
    build, fresh = staged(level=Level.SYSROOTS), staged("fresh", level=Level.PLAIN)
    for number in range(4):
        _build_with_kill(build, f'WORDS_TEXT = "{number}"')
    build.build(conf=CHANGED)
    fresh.build(conf=CHANGED)
    assert timeless(sysroots(build)) == timeless(sysroots(fresh))
    build.prov("fsck", "--repair")  # delete partly written files
    build.is_clean()


@contextlib.contextmanager
def _appended(build: Staged, recipe: str, line: str) -> Iterator[None]:
    """Append a line to a recipe's do_install."""
    path = build.root / "meta-staged/recipes" / recipe.partition("_")[0] / f"{recipe}.bb"
    before = path.read_text()
    path.write_text(f"{before}\ndo_install:append() {{\n    {line}\n}}\n")
    yield
    path.write_text(before)


def _once(build: Staged, conf: str) -> tuple[str, str]:
    build.write("conf/once.conf", conf + "\n")
    return "-R", "conf/once.conf"


def _build_with_kill(build: Staged, conf: str) -> None:
    """Build, and kill the writer with all its forks while a sysroot is composed."""
    running = build.start("bitbake", "app", *_once(build, conf))
    locks = "*/app/*/recipe-sysroot/sysroot.lock"
    build.wait(
        lambda: running.poll() is not None or any((build.tmp / "work").glob(locks)),
        "a sysroot is composed",
    )
    for pid in build.writers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    build.ended(running, code=None)


def test_without_the_program_staging_bbclass_runs(staged: Directories) -> None:
    build, plain = staged(level=Level.SYSROOTS), staged("plain", level=Level.PLAIN)
    build.setting('PROV_COMMAND = "/no/such/prov"')
    said = build.build()
    plain.build()
    assert timeless(sysroots(build)) == timeless(sysroots(plain))
    assert installeddeps(build).keys() == installeddeps(plain).keys()
    (warning,) = warnings(said)
    assert "PROV_COMMAND" in warning


def test_without_a_store_staging_bbclass_runs(staged: Directories) -> None:
    build = staged(level=Level.SYSROOTS)
    build.write(".prov", "no store\n")
    said = build.build()
    assert "WORDS" in build.seen()
    assert [line for line in warnings(said) if "sysroots" in line] == [
        (
            f"prov: 1 task got its sysroots from staging.bbclass: {SYSROOT} ({SYSROOT}:"
            f" {build.root}/.prov is not a directory)"
        ),
    ]


def test_hooks_without_effect_are_reported_with_their_line(staged: Directories) -> None:
    build = staged(level=Level.SYSROOTS)
    build.write(
        "classes/hooking.bbclass",
        "# a class with hooks\n"
        'SSTATEPOSTINSTFUNCS:append = " after_staging"\n'
        "after_staging() {\n    :\n}\n"
        "python extend_recipe_sysroot:append() {\n    bb.plain('never')\n}\n",
    )
    build.write("meta-staged/recipes/app/app_0.1.bbappend", "")
    build.append("meta-staged/recipes/app/app_0.1.bb", '\nSYSROOT_POSTFUNCS += "fix_it"\n')
    lines = (build.root / "meta-staged/recipes/app/app_0.1.bb").read_text().splitlines()
    said = warnings(build.build(conf='INHERIT += "hooking"'))
    place = f"{build.root}/classes/hooking.bbclass"
    own = f"{build.root}/meta-staged/recipes/app/app_0.1.bb:{len(lines)}"
    (first,) = [line for line in said if "SSTATEPOSTINSTFUNCS" in line]
    assert (
        f"prov: {place}:2: SSTATEPOSTINSTFUNCS has no effect on sysroots composed by prov: install"
        " a script" in first
    )
    (second,) = [line for line in said if "extend_recipe_sysroot" in line]
    assert f"prov: {place}:6: extend_recipe_sysroot has no effect" in second
    (third,) = [line for line in said if "SYSROOT_POSTFUNCS" in line]
    assert own in third
    assert len(said) == 3
