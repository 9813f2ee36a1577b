"""Shared state in the store, with OE-core's own classes: restored files equal the built ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.bitbake.setup import layer
from tests.bitbake.staged import (
    OECORE_DIR,
    RECIPES,
    Directories,
    Entry,
    Level,
    Staged,
    Tree,
    live,
    staged_below,
    started,
)
from tests.bitbake.story import warnings

pytestmark = [pytest.mark.process, live]

OUTPUTS = {f"{recipe}:do_populate_sysroot" for recipe in RECIPES}
RESTORED = {f"{task}_setscene" for task in OUTPUTS}
SYSROOT = "app:do_prepare_recipe_sysroot"
ALL = (*RECIPES, SYSROOT)
COMPOSED = RESTORED | {SYSROOT, "app:do_fetch"}
"""Tasks that run for the targets in ALL if all outputs are available."""
IDLE = 'WORDS_IDLE = "idle"'
EQUIVALENCE = 'BB_SIGNATURE_HANDLER = "OEEquivHash"\nBB_HASHSERVE = "auto"'

First = tuple[Staged, dict[str, Tree]]


def results(build: Staged) -> dict[str, Tree]:
    """Return the staged files of the recipes and the sysroots of `app`, without variable mtimes."""
    index = "usr/share/tool/index"  # written by a postinst script
    return {
        "components": build.tree(build.components, "manifests"),
        "target": build.tree(build.sysroot()),
        "native": build.tree(build.native_sysroot(), "installeddeps", index),
        "index": {index: build.tree(build.native_sysroot())[index]._replace(mtime=None)},
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[First]:
    """A build directory that publishes its results, and the results of its first build."""
    top = tmp_path_factory.mktemp("staged")
    with staged_below(top) as make:
        build = make("first", level=Level.CACHE)
        build.prov("remote", "add", "team", str(top / "cache"), "--push")
        assert warnings(build.build(*ALL)) == []
        build.prov("push")
        yield build, results(build)
        build.is_clean()


def timeless(trees: dict[str, Tree]) -> dict[str, Tree]:
    """Return trees without mtimes, and with lists in sorted order."""

    def plain(path: str, entry: Entry) -> Entry:
        unordered = path.endswith("/fixmepath")
        content = (
            "".join(sorted(entry.content.splitlines(keepends=True))) if unordered else entry.content
        )
        return entry._replace(content=content, mtime=None)

    return {
        name: {path: plain(path, entry) for path, entry in tree.items()}
        for name, tree in trees.items()
    }


def test_build_without_prov_has_the_same_results(first: First, staged: Directories) -> None:
    plain = staged("plain", level=Level.PLAIN)
    plain.build(*ALL)
    made = results(plain)
    assert timeless(first[1]) == timeless(made)
    # make sure that the trees contain what the tests below compare
    words = "x86_64/words-native/usr/lib/words/"
    assert "FIXMESTAGINGDIRHOST" in made["components"][words + "where"].content
    assert made["native"]["usr/lib/words/where"].content.startswith("words=@TOP@/tmp/work/")
    assert made["native"]["usr/lib/words/where-sealed"].mode == "-r--r--r--"
    assert made["components"][words + "list"].links == (words + "list", words + "list-again")
    assert "usr/lib/words/list" in made["index"]["usr/share/tool/index"].content.split()
    assert (
        "FIXMESTAGINGDIRTARGET"
        in made["components"]["core/base/usr/share/base/base-config"].content
    )
    assert plain.archives() == OUTPUTS


@pytest.mark.parametrize("level", [Level.OBSERVED, Level.CACHE])
def test_no_hash_depends_on_prov(level: Level, staged: Directories) -> None:
    plain = staged("plain", level=Level.PLAIN)
    before = plain.signatures()
    assert before.count(":do_") > 30
    plain.switch(level)
    assert plain.signatures() == before


def test_hashes_are_the_same_everywhere(first: First, staged: Directories) -> None:
    assert staged("elsewhere/at/all").signatures() == first[0].signatures()


def test_enabling_and_disabling_prov_reruns_nothing(staged: Directories) -> None:
    build = staged(level=Level.PLAIN)
    build.build(*ALL)
    for level in (Level.OBSERVED, Level.CACHE, Level.PLAIN):
        build.switch(level)
        assert started(build.build(*ALL)) == set()


def test_no_archives_are_written(first: First) -> None:
    build = first[0]
    assert build.recorded() >= OUTPUTS
    assert build.archives() == set()
    assert list(build.sstate.rglob("*populate_sysroot.tar.zst.siginfo"))


def test_deleted_tmpdir_and_sstate_are_restored_from_the_store(first: First) -> None:
    build, made = first
    build.lose()
    said = build.build(*ALL)
    assert started(said) == COMPOSED
    assert "prov: 4 of 4 wanted objects of shared state are in the store" in said
    assert build.newest()["restored"] == "4"
    assert results(build) == made
    assert build.archives() == set()


def test_another_build_directory_restores_through_a_remote(
    first: First, staged: Directories
) -> None:
    other = staged("at/another/path", level=Level.CACHE)
    other.prov("remote", "add", "team", str(first[0].root.parent / "cache"))
    assert started(other.build(*ALL)) == COMPOSED
    assert results(other) == first[1]
    other.is_clean()


def test_reverted_change_is_restored_from_the_store(staged: Directories) -> None:
    build = staged(level=Level.CACHE)
    build.build(*ALL)
    made, seen = results(build), build.seen()
    said = build.build(conf='WORDS_TEXT = "other"')
    assert {"words-native:do_populate_sysroot", SYSROOT, "app:do_populate_sysroot"} <= started(said)
    assert "base:do_populate_sysroot" not in started(said)
    assert build.seen() == seen.replace("\nwords\n", "\nother\n").replace('"words"', '"other"')
    said = build.build(*ALL)
    assert {task for task in started(said) if "populate_sysroot" in task} == {
        "app:do_populate_sysroot_setscene",
        "words-native:do_populate_sysroot_setscene",
    }
    assert results(build) == made


LOOKING = """
look() {
    mkdir -p ${SSTATE_DIR}
    find ${SSTATE_DIR} ! -type d ! -name '*.siginfo' >> ${TOPDIR}/looked
    echo "${BB_RUNTASK}" >> ${TOPDIR}/looked
}
SSTATEPOSTCREATEFUNCS += "look"
SSTATEPREINSTFUNCS += "look"
SSTATEPOSTUNPACKFUNCS += "look"
"""
"""Lists SSTATE_DIR after an object is packed, and before and after one is unpacked."""


def test_sstate_dir_contains_no_placeholders(staged: Directories) -> None:
    """A killed task would leave one there, and builds without prov would read it as an archive."""
    build = staged(level=Level.CACHE)
    build.write("classes/looking.bbclass", LOOKING)
    build.setting('INHERIT += "looking"')
    build.build("words-native")
    build.lose()
    build.build("words-native")
    looked = set((build.root / "looked").read_text().split())
    assert looked == {"do_populate_sysroot", "do_populate_sysroot_setscene"}


# stores, archives and remotes


def test_without_the_program_archives_are_used(staged: Directories) -> None:
    build = staged(level=Level.CACHE)
    build.setting('PROV_COMMAND = "/no/such/prov"')
    said = build.build(*RECIPES)
    (warning,) = warnings(said)
    assert warning.startswith(
        "prov: this build is not recorded: PROV_COMMAND: program '/no/such/prov' not found"
    )
    assert build.archives() == OUTPUTS
    build.lose("tmp")
    said = build.build(*RECIPES)
    assert started(said) == RESTORED
    assert len(warnings(said)) == 1


def test_without_a_store_archives_are_used(staged: Directories) -> None:
    build = staged(level=Level.CACHE)
    build.write(".prov", "no store\n")
    said = build.build(*RECIPES)
    (warning,) = warnings(said)
    assert (
        "tasks are not recorded:" in warning
        and f": {build.root}/.prov is not a directory" in warning
    )
    assert build.archives() == OUTPUTS
    build.lose("tmp")
    assert started(build.build(*RECIPES)) == RESTORED


def test_archives_in_sstate_are_used_and_stored(staged: Directories) -> None:
    build = staged(level=Level.PLAIN)
    build.build(*ALL)
    build.switch(Level.CACHE)
    build.lose("tmp")
    assert started(build.build(*ALL)) == COMPOSED
    made = results(build)
    build.lose()
    assert started(build.build(*ALL)) == COMPOSED
    assert results(build) == made
    assert build.archives() == set()


def test_archives_on_a_mirror_are_used_and_stored(staged: Directories) -> None:
    plain = staged("plain", level=Level.PLAIN)
    plain.build(*RECIPES)
    moved = staged("moved", level=Level.CACHE)
    moved.setting(f'SSTATE_MIRRORS = "file://.* file://{plain.root}/sstate-cache/PATH"')
    assert started(moved.build(*RECIPES)) == RESTORED
    shutil.rmtree(plain.sstate)
    moved.lose()
    assert started(moved.build(*RECIPES)) == RESTORED


def test_equal_outputs_are_skipped_on_the_next_machine(staged: Directories) -> None:
    one, other = (staged(name, level=Level.CACHE) for name in ("one", "other"))
    for build, more in ((one, ["--push"]), (other, [])):
        build.setting(EQUIVALENCE)
        build.prov("remote", "add", "team", str(one.root.parent / "cache"), *more)
    one.build(*RECIPES)
    ran = started(one.build(*RECIPES, conf=IDLE))
    assert {task for task in ran if not task.endswith("_setscene")} == {
        "words-native:do_install",
        "words-native:do_populate_sysroot",
    }
    one.prov("push")
    assert started(other.build(*RECIPES, conf=IDLE)) == RESTORED


def test_object_is_not_replaced_by_one_of_the_same_name(staged: Directories) -> None:
    """Like an archive: tasks may have used it, and the new one has other mtimes."""
    build = staged(level=Level.CACHE)
    build.setting(EQUIVALENCE)
    build.build(*RECIPES)
    made = build.tree(build.component("words-native"))
    assert "words-native:do_populate_sysroot" in started(build.build("words-native", conf=IDLE))
    assert build.tree(build.component("words-native")) != made
    assert "static-key" not in build.facts("words-native:do_populate_sysroot")
    build.lose()
    assert "words-native:do_populate_sysroot_setscene" in started(build.build("words-native"))
    assert build.tree(build.component("words-native")) == made


@pytest.mark.parametrize("level", [Level.OBSERVED, Level.CACHE])
def test_file_of_a_native_recipe_is_found_by_its_short_path(
    level: Level, staged: Directories
) -> None:
    """The recipe stages it below the full path of its sysroot."""
    build = staged(level=level)
    build.build("words-native")
    said = build.ask("blame", "usr/lib/words/list")
    assert "words-native:do_populate_sysroot@output/" in said
    assert (
        "words-native:do_install copied image/" in said
        or "words-native:do_install made image/" in said
    )
    assert "words-native:do_compile" in said
    assert "source words.txt" in said


# lost tasks, cleaning, multiconfigs

BREAKING = """
addhandler break_signatures
break_signatures[eventmask] = "bb.build.TaskStarted"
python break_signatures() {
    if (d.getVar("PN"), d.getVar("BB_RUNTASK")) != ("words-native", "do_populate_sysroot"):
        return
    plain = bb.parse.siggen.dump_sigtask
    def dump(fn, task, stampbase, runtime):
        if os.path.basename(stampbase).startswith("prov."):
            raise OSError("no signature today")
        return plain(fn, task, stampbase, runtime)
    bb.parse.siggen.dump_sigtask = dump
}
"""


def test_task_that_cannot_be_recorded_reports_why_and_writes_an_archive(
    staged: Directories,
) -> None:
    build = staged(level=Level.CACHE)
    build.write("classes/breaking.bbclass", BREAKING)
    said = build.build(*RECIPES, conf='INHERIT += "breaking"')
    task = "words-native:do_populate_sysroot"
    assert f"NOTE: prov: {task} is not recorded: OSError: no signature today" in said
    assert warnings(said) == [
        f"prov: 1 task is not recorded: {task} ({task}: OSError: no signature today)"
    ]
    assert build.archives() == {task}
    made = {"words": build.tree(build.component("words-native"))}
    build.lose("tmp")
    assert started(build.build(*RECIPES)) == RESTORED
    assert timeless({"words": build.tree(build.component("words-native"))}) == timeless(made)


CLEANING = """
addtask cleansstate
do_cleansstate[nostamp] = "1"
python do_cleansstate() {
    bb.build.exec_func("sstate_cleanall", d)
    sstate_clean_cachefiles(d)
    bb.utils.remove(d.getVar("WORKDIR"), True)
    bb.utils.remove(d.getVar("STAMP") + ".*")
}
"""
"""A task like do_clean of base.bbclass together with do_cleansstate of sstate.bbclass."""


def test_cleansstate_reruns_the_task_although_a_remote_has_its_object(
    staged: Directories, tmp_path: Path
) -> None:
    build = staged(level=Level.CACHE)
    build.append("meta-staged/classes-global/base.bbclass", CLEANING)
    build.prov("remote", "add", "team", str(tmp_path / "cache"), "--push")
    build.build(*RECIPES)
    build.prov("push")
    said = build.build("-c", "cleansstate", "words-native")
    assert warnings(said) == []
    ran = started(build.build("words-native"))
    assert {"words-native:do_install", "words-native:do_populate_sysroot"} <= ran
    assert "words-native:do_populate_sysroot_setscene" not in ran
    build.lose()
    assert started(build.build(*RECIPES)) == RESTORED
    build.is_clean()


def test_mode_both_writes_archives_as_well(staged: Directories) -> None:
    build = staged(level=Level.PLAIN)
    build.prov("bitbake", "setup", ".")
    build.write("conf/level.conf", 'PROV_CACHE = "both"\n')
    assert warnings(build.build(*RECIPES)) == []
    assert build.archives() == OUTPUTS
    build.lose()
    said = build.build(*RECIPES)
    assert started(said) == RESTORED
    build.lose("tmp", ".prov")
    build.write("conf/level.conf", "")
    build.build(*RECIPES)


def test_invalid_value_of_prov_cache_is_reported(staged: Directories) -> None:
    build = staged(level=Level.OBSERVED)
    (warning,) = warnings(build.build("words-native", conf='PROV_CACHE = "maybe"'))
    assert "PROV_CACHE" in warning and "maybe" in warning
    assert build.archives() == {"words-native:do_populate_sysroot"}


def test_multiconfig_restores_objects_of_the_default_configuration(
    staged: Directories, tmp_path: Path
) -> None:
    build = staged(level=Level.CACHE)
    build.write("conf/multiconfig/two.conf", 'TMPDIR = "${TOPDIR}/tmp-two"\n')
    build.setting('BBMULTICONFIG = "two"')
    build.prov("remote", "add", "team", str(tmp_path / "cache"), "--push")
    build.build(*RECIPES)
    folder = build.component("words-native")
    made = build.tree(folder, "fixmepath.cmd")
    said = build.build(*(f"mc:two:{recipe}" for recipe in RECIPES))
    assert "prov: 4 of 4 wanted objects of shared state are in the store" in said
    assert {task for task in started(said) if not task.endswith("_setscene")} == set()
    assert (
        build.tree(build.root / "tmp-two" / folder.relative_to(build.tmp), "fixmepath.cmd") == made
    )
    build.is_clean()

    # and in the other direction, through a remote
    first = staged("first", level=Level.CACHE)
    first.write("conf/multiconfig/two.conf", 'TMPDIR = "${TOPDIR}/tmp-two"\n')
    first.setting('BBMULTICONFIG = "two"')
    first.prov("remote", "add", "other", str(tmp_path / "other-cache"), "--push")
    first.build("mc:two:words-native")
    first.prov("push")
    second = staged("second", level=Level.CACHE)
    second.prov("remote", "add", "other", str(tmp_path / "other-cache"))
    assert started(second.build("words-native")) == {"words-native:do_populate_sysroot_setscene"}
    second.is_clean()


# names that a new release may change


@pytest.mark.parametrize("name", ["sstate_unpack_package", "sstate_clean_cachefile"])
def test_renamed_function_of_the_cache_is_reported_and_archives_are_written(
    staged: Directories, name: str
) -> None:
    build = staged(level=Level.CACHE)
    text = Path(OECORE_DIR, "meta/classes-global/sstate.bbclass").read_text()
    build.write("classes-global/sstate.bbclass", text.replace(name, f"renamed_{name}"))
    said = build.build(*RECIPES)
    assert warnings(said) == [
        f"prov: this release of BitBake or OpenEmbedded-Core lacks {name}: PROV_CACHE is disabled"
        " for this build"
    ]
    assert build.archives() == OUTPUTS
    assert build.recorded() >= OUTPUTS


@pytest.mark.parametrize(
    ("file", "name"),
    [("staging", "extend_recipe_sysroot"), ("sstate", "sstate_eventhandler_reachablestamps")],
)
def test_renamed_function_of_sysroots_is_reported_and_staging_bbclass_runs(
    staged: Directories, file: str, name: str
) -> None:
    build = staged(level=Level.SYSROOTS)
    text = Path(OECORE_DIR, f"meta/classes-global/{file}.bbclass").read_text()
    build.write(f"classes-global/{file}.bbclass", text.replace(name, f"renamed{name[6:]}"))
    said = build.build()
    (warning,) = warnings(said)
    assert f"lacks {name}: PROV_SYSROOTS is disabled for this build" in warning
    assert "WORDS" in build.seen()


def test_layer_is_compatible_with_this_oe_core() -> None:
    def series(path: Path, layer: str) -> set[str]:
        found = re.search(rf'^LAYERSERIES_COMPAT_{layer} = "(.*)"', path.read_text(), re.MULTILINE)
        assert found is not None
        return set(found[1].split())

    assert series(Path(OECORE_DIR, "meta/conf/layer.conf"), "core") <= series(
        layer() / "conf/layer.conf", "prov"
    )
