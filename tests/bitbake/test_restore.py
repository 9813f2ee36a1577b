"""`prov bitbake restore` without BitBake: it uses recorded paths only in this build's TMPDIR."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.store.repository import Store
from tests.bitbake.hostile import add_run, facts_of, files_below
from tests.bitbake.recorded import Line, Replayed, read
from tests.bitbake.story import BuildDirectory, live
from tests.cli.story import Project

pytestmark = pytest.mark.process

STAMPS = "tmp/stamps/small-machine/words"
WORDS = "tmp/work/small-machine/words/1.0"
CHAIN = ("do_fetch", "do_unpack", "do_configure", "do_compile", "do_install")


def with_stamps(line: Line, top: Path) -> Line:
    """Return a task's recorded request, with a stamp added."""
    asked = line["asked"]
    if asked["what"] == "end":
        name = f"{asked['pv']}.{asked['task']}.{asked['taskhash']}"
        asked = asked | {"stamp": f"{top}/tmp/stamps/small-machine/{asked['pn']}/{name}"}
    return line | {"asked": asked}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory with a recorded build of `words`."""
    build = Replayed(tmp_path_factory.mktemp("restore") / "build")
    build.write("conf/bblayers.conf", "")
    build.write("conf/local.conf", "")
    build.begin()
    sent = list(read("first", str(build.root)))
    for line in sent[:-1]:
        if line["asked"]["pn"] == "words":
            assert build.say(with_stamps(line, build.root)) == {}
    build.end()
    return build.root


@pytest.fixture
def build(once: Path, tmp_path: Path) -> Iterator[Replayed]:
    """The same build directory at the same path, restored after each test."""
    kept = tmp_path / "kept"
    shutil.copytree(once, kept, symlinks=True)
    yield Replayed(once)
    shutil.rmtree(once)
    shutil.copytree(kept, once, symlinks=True)


# what works


def test_deleted_workdir_and_stamps_are_restored(build: Replayed) -> None:
    shutil.rmtree(build.root / "tmp")
    said = build.ask("bitbake", "restore", "words:do_compile")
    assert f"{build.root / WORDS}: restored words/do_compile/" in said
    assert said.splitlines()[-1] == "stamps: do_fetch do_unpack do_configure do_compile"
    assert files_below(build.root / WORDS) == ["words-1.0/sorted.txt", "words-1.0/words.txt"]
    stamps = sorted((build.root / STAMPS).iterdir(), key=lambda path: path.stat().st_mtime)
    assert [path.name.split(".")[2] for path in stamps] == list(CHAIN[:-1])
    assert build.ask("bitbake", "restore", "words:do_unpack")  # go further back from there
    assert files_below(build.root / WORDS) == ["words-1.0/words.txt"]
    build.is_clean()


def test_stamps_of_later_tasks_are_deleted_but_not_signature_data(build: Replayed) -> None:
    names = [f"1.0.{task}.abc" for task in CHAIN] + [
        "1.0.do_install.sigdata.abc",
        "1.0.do_install.taint",
        "2.0.do_x.a",
    ]
    for name in names:
        build.write(f"{STAMPS}/{name}", "")
    build.ask("bitbake", "restore", "words:do_unpack")
    left = {path.name for path in (build.root / STAMPS).iterdir()}
    assert {name.split(".")[2] for name in left if len(name) > 60} == {"do_fetch", "do_unpack"}
    assert {name for name in left if len(name) < 60} == set(names[len(CHAIN) :])


def test_content_of_the_workdir_is_recorded_first(build: Replayed) -> None:
    build.write(f"{WORDS}/words-1.0/words.txt", "by hand\n")
    build.ask("bitbake", "restore", "words:do_unpack")
    (tag,) = build.tags("outside")
    assert build.git("show", f"refs/tags/{tag}:words-1.0/words.txt") == "by hand\n"
    assert (build.root / WORDS / "words-1.0/words.txt").read_text() != "by hand\n"


def test_build_directory_is_found_from_a_folder_below(build: Replayed) -> None:
    below = Replayed(build.root / "conf")
    assert below.ask("bitbake", "restore", "words:do_unpack")


def test_symlink_to_the_build_directory_is_accepted(build: Replayed, tmp_path: Path) -> None:
    """A moved build directory may have a symlink at its old path."""
    moved = tmp_path / "moved"
    shutil.copytree(build.root, moved, symlinks=True)
    old = build.root.with_name("old")
    build.root.rename(old)
    try:
        build.root.symlink_to(moved)
        said = Replayed(moved).ask("bitbake", "restore", "words:do_compile")
        assert f"{moved / WORDS}: restored " in said
        assert list((moved / STAMPS).iterdir())
    finally:
        build.root.unlink()
        old.rename(build.root)


def test_moved_build_directory_is_not_restored_at_its_old_path(
    build: Replayed, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(build.root, moved, symlinks=True)
    shutil.rmtree(build.root / "tmp")
    said = Replayed(moved).refused("bitbake", "restore", "words:do_compile")
    assert (
        said
        == f"prov: words:do_compile: cannot use the recorded WORKDIR {build.root / WORDS}: outside"
        f" {moved}/tmp/work* hint: run the command in the build directory of the recorded"
        " build, or allow another TMPDIR with `--tmpdir DIR`"
    )
    assert not (build.root / "tmp").exists()
    old = str(build.root / "tmp")
    assert Replayed(moved).ask("bitbake", "restore", "words:do_compile", "--tmpdir", old)
    assert (build.root / WORDS / "words-1.0/sorted.txt").is_file()


@pytest.mark.parametrize("name", ["tmp-musl", "tmp"])
def test_tmpdir_of_a_multiconfig_is_in_the_build_directory(build: Replayed, name: str) -> None:
    top = build.root / name
    workdir, stamp = top / "work/x86_64/a/1.0", top / "stamps/x86_64/a/1.0.do_compile.abc"
    add_run(Store.open(build.root / ".prov"), facts_of(str(workdir), str(stamp)))
    build.ask("bitbake", "restore", "a:do_compile")
    assert files_below(workdir) == ["authorized_keys"]
    assert stamp.is_file()


def test_tmpdir_outside_is_used_if_both_it_and_the_build_name_it(
    build: Replayed, tmp_path: Path
) -> None:
    top = tmp_path / "disk/tmp"
    workdir, stamp = top / "work/x86_64/a/1.0", top / "stamps/x86_64/a/1.0.do_compile.abc"
    add_run(Store.open(build.root / ".prov"), facts_of(str(workdir), str(stamp)))
    build.write("cache/sanity_info", f"SANITY_VERSION 1\nTMPDIR {top}\nSSTATE_DIR /x\n")
    assert "outside" in build.refused("bitbake", "restore", "a:do_compile")
    assert not top.exists()
    top.mkdir(parents=True)
    (top / "saved_tmpdir").write_text(str(top))
    build.ask("bitbake", "restore", "a:do_compile")
    assert files_below(top) == [
        "saved_tmpdir",
        "stamps/x86_64/a/1.0.do_compile.abc",
        "work/x86_64/a/1.0/authorized_keys",
    ]


@live
def test_bitbake_continues_from_a_restored_workdir(story: BuildDirectory) -> None:
    story.bitbake("app")
    shutil.rmtree(story.workdir("words", "1.0"))
    story.ask("bitbake", "restore", "words:do_compile")
    story.bitbake("-c", "install", "-f", "words")
    assert story.newest()["ran"] == "1"
    assert (story.workdir("words", "1.0") / "image/share/words").is_file()


# what is rejected


@pytest.fixture
def victim(tmp_path: Path) -> Project:
    """A user's build directory, in which a hostile store is used."""
    build = Project(tmp_path / "victim/build")
    build.write("conf/bblayers.conf", "")
    build.write("conf/local.conf", "")
    build.write("tmp/work/x86_64/b/1.0/temp/log.do_compile", "")
    build.write("tmp/work/x86_64/b/1.0/b.c", "int b;\n")
    build.write("tmp/stamps/x86_64/b/1.0.do_compile.abc", "")
    build.write("tmp/deploy/images/b.img", "image\n")
    build.write("tmp/sysroots-components/x86_64/b/usr/bin/b", "b\n")
    build.write("sstate-cache/aa/b", "b\n")
    outside = build.root.parent / "home"
    outside.mkdir()
    (build.root / "tmp/work/outside").symlink_to(outside)
    (build.root / "tmp/stamps/outside").symlink_to(outside)
    return build


def hostile(victim: Project, facts: dict[str, str]) -> Store:
    store = Store.create(victim.root.parent / "theirs")
    add_run(store, facts)
    return store


def refused(victim: Project, facts: dict[str, str], *more: str) -> str:
    """Restore from a hostile store, assert that it writes nothing, and return the error."""
    store = hostile(victim, facts)
    before = files_below(victim.root.parent)
    refs = store.refs.list("refs/")
    said = victim.refused("bitbake", "restore", "a:do_compile", "--store", str(store.path), *more)
    after = [path for path in files_below(victim.root.parent) if not path.startswith("theirs/")]
    assert after == [path for path in before if not path.startswith("theirs/")]
    assert store.refs.list("refs/") == refs
    assert said.startswith("prov: a:do_compile: ") and said.count("prov: ") == 1
    assert "hint: " in said and len(said) < 1000
    return said


WORKDIR, STAMP = "@TOP@/tmp/work/x86_64/a/1.0", "@TOP@/tmp/stamps/x86_64/a/1.0.do_compile.abc"
WORKDIRS = {
    "the home directory": "@TOP@/../home/bin",
    "absolute": "@HOME@/bin",
    "upwards": "@TOP@/tmp/work/../../../home/bin",
    "upwards through what is not there": "@TOP@/tmp/work/none/../../../../home/bin",
    "through a link": "@TOP@/tmp/work/outside/bin",
    "a link": "@TOP@/tmp/work/outside",
    "the configuration": "@TOP@/conf",
    "the build directory": "@TOP@",
    "TMPDIR": "@TOP@/tmp",
    "all WORKDIRs": "@TOP@/tmp/work",
    "the WORKDIRs of a machine": "@TOP@/tmp/work/x86_64",
    "those of a recipe": "@TOP@/tmp/work/x86_64/b",
    "deploy": "@TOP@/tmp/deploy/images",
    "sysroots": "@TOP@/tmp/sysroots-components/x86_64/b",
    "stamps": "@TOP@/tmp/stamps/x86_64/a",
    "shared state": "@TOP@/sstate-cache/aa",
    "a name that only begins like it": "@TOP@/tmpx/../conf/work/a",
    "relative": "tmp/work/x86_64/a/1.0",
    "nothing": "",
    "a NUL": "@TOP@/tmp/work/x86_64/a\0/1.0",
    "escapes": "@HOME@/\x1b[2J/bin",
    "endless": "/x" * 50_000,
    "a name too long": "@TOP@/tmp/work/x86_64/" + "a" * 300,
    "a file": "@TOP@/tmp/work/x86_64/b/1.0/b.c",
    "below a file": "@TOP@/tmp/work/x86_64/b/1.0/b.c/1.0",
}


def filled(victim: Project, text: str) -> str:
    return text.replace("@TOP@", str(victim.root)).replace(
        "@HOME@", str(victim.root.parent / "home")
    )


@pytest.mark.parametrize("workdir", WORKDIRS.values(), ids=WORKDIRS)
def test_workdir_outside_is_rejected(victim: Project, workdir: str) -> None:
    said = refused(victim, facts_of(filled(victim, workdir), filled(victim, STAMP)))
    assert "\x1b" not in said


STAMPS_OUTSIDE = {
    "the home directory": "@HOME@/x.do_compile.abc",
    "upwards": "@TOP@/tmp/stamps/../../conf/x.do_compile.abc",
    "through a link": "@TOP@/tmp/stamps/outside/x.do_compile.abc",
    "the configuration": "@TOP@/conf/x.do_compile.abc",
    "a WORKDIR": "@TOP@/tmp/work/x86_64/b/1.0/x.do_compile.abc",
    "deploy": "@TOP@/tmp/deploy/x.do_compile.abc",
    "no stamp": "@TOP@/tmp/stamps/x86_64/a/passwd",
    "a folder": "@TOP@/tmp/stamps/x86_64/a/x.do_compile.abc/",
    "upwards at the end": "@TOP@/tmp/stamps/x86_64/a/..",
    "relative": "x.do_compile.abc",
    "nothing": "",
    "a NUL": "@TOP@/tmp/stamps/x86_64/a/1.0.do_compile.\0",
}


@pytest.mark.parametrize("stamp", STAMPS_OUTSIDE.values(), ids=STAMPS_OUTSIDE)
def test_stamp_outside_is_rejected(victim: Project, stamp: str) -> None:
    refused(victim, facts_of(filled(victim, WORKDIR), filled(victim, stamp)))


def test_stamp_outside_of_an_earlier_task_is_rejected(victim: Project) -> None:
    store = Store.create(victim.root.parent / "theirs")
    bad = facts_of(filled(victim, WORKDIR), filled(victim, "@HOME@/x.do_unpack.abc"))
    first = add_run(store, bad, task="do_unpack")
    add_run(store, facts_of(filled(victim, WORKDIR), filled(victim, STAMP)), after=first)
    said = victim.refused("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    assert said.startswith("prov: a:do_unpack: cannot use the recorded stamp ")
    assert files_below(victim.root.parent / "home") == []
    assert not (victim.root / "tmp/work/x86_64/a").exists()


@pytest.mark.parametrize(
    "task", ["do_unpack/../../..", "/../../../../home/x", ".", "", "do_x.y.z", "x" * 400]
)
def test_task_name_in_a_record_cannot_form_a_path(victim: Project, task: str) -> None:
    """The name of a stamp contains the task's name."""
    store = Store.create(victim.root.parent / "theirs")
    facts = facts_of(filled(victim, WORKDIR), filled(victim, STAMP), setscene="yes")
    first = add_run(store, facts, task="do_unpack", name=task)
    add_run(store, facts_of(filled(victim, WORKDIR), filled(victim, STAMP)), after=first)
    victim.prov("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    assert files_below(victim.root.parent / "home") == []
    assert files_below(victim.root / "tmp/stamps/x86_64/a") == ["1.0.do_compile.abc"]


def test_stamps_of_another_recipe_are_not_changed(victim: Project) -> None:
    store = Store.create(victim.root.parent / "theirs")
    other = filled(victim, "@TOP@/tmp/stamps/x86_64/b/1.0.do_install.evil")
    first = add_run(store, facts_of(filled(victim, WORKDIR), other), task="do_install")
    add_run(store, facts_of(filled(victim, WORKDIR), filled(victim, STAMP)), after=first)
    victim.prov("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    assert files_below(victim.root / "tmp/stamps/x86_64") == [
        "a/1.0.do_compile.abc",
        "b/1.0.do_compile.abc",
    ]


def test_symlink_at_a_stamps_path_is_replaced(victim: Project) -> None:
    target = victim.root.parent / "home/target"
    stamp = Path(filled(victim, STAMP))
    stamp.parent.mkdir(parents=True)
    stamp.symlink_to(target)
    store = hostile(victim, facts_of(filled(victim, WORKDIR), str(stamp)))
    victim.prov("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    assert not target.exists()
    assert stamp.is_file() and not stamp.is_symlink()


@pytest.mark.parametrize("folder", [".", "work"])
def test_folder_outside_a_build_directory_is_rejected(victim: Project, folder: str) -> None:
    elsewhere = Project(victim.root.parent / folder)
    elsewhere.root.mkdir(exist_ok=True)
    store = hostile(victim, facts_of(filled(victim, WORKDIR), filled(victim, STAMP)))
    said = elsewhere.refused("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    assert "the current folder is not in a BitBake build directory" in said
    elsewhere.prov(
        "bitbake",
        "restore",
        "a:do_compile",
        "--store",
        str(store.path),
        "--tmpdir",
        str(victim.root / "tmp"),
    )
    assert files_below(Path(filled(victim, WORKDIR))) == ["authorized_keys"]


@pytest.mark.parametrize("how", ["sanity", "link"])
def test_hostile_build_directory_cannot_select_folders_outside(victim: Project, how: str) -> None:
    home = victim.root.parent / "home"
    (home / "work").mkdir()
    if how == "sanity":
        victim.write("cache/sanity_info", f"TMPDIR {home}\n")
    else:
        (victim.root / "tmp-evil").symlink_to(home)
    refused(victim, facts_of(str(home / "work/a"), str(home / "stamps/a/1.0.do_compile.abc")))


@pytest.mark.parametrize(
    "line",
    [
        "refs/heads/builds",
        "refs/prov/workdir/../../heads/a/b",
        "refs/prov/workdir/x/a",
        "x",
        "refs/prov/workdir/~/a/b",
    ],
)
def test_invalid_ref_in_a_record_is_rejected(victim: Project, line: str) -> None:
    refused(victim, facts_of(filled(victim, WORKDIR), filled(victim, STAMP), line=line))


def test_ref_of_another_workdir_is_not_used(victim: Project) -> None:
    facts = facts_of(
        filled(victim, WORKDIR), filled(victim, STAMP), line="refs/prov/workdir/x86_64/b/1.0-abc"
    )
    store = hostile(victim, facts)
    victim.prov("bitbake", "restore", "a:do_compile", "--store", str(store.path))
    (ref,) = store.refs.list("refs/prov/workdir/")
    assert ref.startswith("refs/prov/workdir/x86_64/a/1.0-")
