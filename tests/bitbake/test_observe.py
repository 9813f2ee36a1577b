"""BitBake builds before and after changes, and what prov reports about them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bitbake.conftest import BuildDirectories
from tests.bitbake.story import APP, BASE, TASKS, WORDS, BuildDirectory, live, warnings
from tests.cli.story import in_order

pytestmark = [pytest.mark.process, live]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildDirectory]:
    """A build directory after a first build. Tests must not change it."""
    story = BuildDirectory(tmp_path_factory.mktemp("observe") / "build").make()
    said = story.bitbake("app")
    assert warnings(said) == []
    yield story
    story.stop()
    shutil.rmtree(story.root)


# a first build


def test_first_build_is_recorded(built: BuildDirectory) -> None:
    assert built.recorded() == TASKS
    assert len(built.tags()) == 19
    facts = built.newest()
    wanted = {
        "result": "ok",
        "ran": "19",
        "up-to-date": "0",
        "restored": "0",
        "failed": "0",
        "builder": "bitbake",
    }
    assert facts.items() >= wanted.items()
    assert "app:do_build  19 ran" in built.ask("builds")


def test_build_directory_contains_no_other_files(built: BuildDirectory) -> None:
    assert built.traces() == [".prov", ".prov.sock.lock"]
    assert not list(built.workdir().glob("temp/prov.*"))


def test_log_lists_the_tasks_of_a_recipe(built: BuildDirectory) -> None:
    listed = {line.split()[4] for line in built.ask("log", "app").splitlines()}
    assert listed == {task for task in TASKS if task.startswith("app:")}


def test_diff_lists_the_changes_of_a_task(built: BuildDirectory) -> None:
    assert built.changes("app:do_unpack") == {"A app-0.1/app.txt"}
    assert built.changes("app:do_compile") == {"A app-0.1/app", "A app-0.1/count"}
    assert built.changes("app:do_install") == {"A image/app"}
    assert built.changes("app:do_notes") == {f"A notes/{number}" for number in (1, 2, 3)}
    assert built.changes("tool:do_install") == {"A image/bin/count", "A image/bin/number"}


def test_show_prints_inputs_and_log(built: BuildDirectory) -> None:
    found = built.json("show", "app:do_compile")
    assert found["inputs"]["variables/GREETING"] == "hello"
    assert "cat app.txt count" in found["inputs"]["script"]
    assert found["facts"]["workdir"] == str(built.workdir())
    assert len(found["facts"]["bitbake-taskhash"]) == 64
    in_order(
        found["log"],
        "DEBUG: Executing shell function do_compile",
        "DEBUG: Shell function do_compile finished",
    )


def test_why_of_a_first_run(built: BuildDirectory) -> None:
    assert "no earlier run to compare with" in built.ask("why", "app:do_compile")


def test_blame_finds_the_task(built: BuildDirectory) -> None:
    assert "app:do_compile" in built.ask("blame", "app:do_install@workdir/app-0.1/app")
    assert "words:do_compile" in built.ask("blame", "words:do_stage@output/image/share/words")


def test_checkout_writes_the_recorded_workdir(built: BuildDirectory, tmp_path: Path) -> None:
    built.prov("checkout", "tool:do_stage", str(tmp_path / "tool"))
    built.prov("checkout", "words:do_stage", str(tmp_path / "words"))
    count = tmp_path / "tool/image/bin/count"
    assert count.stat().st_mode & 0o777 == 0o755
    assert count.samefile(tmp_path / "tool/image/bin/number")
    assert (tmp_path / "words/image/share/empty").is_dir()
    assert (tmp_path / "words/image/share/words").read_text() == "apple\nextra\nfig\npear\n"


def test_report_is_a_page(built: BuildDirectory, tmp_path: Path) -> None:
    built.prov("report", "-o", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert all(task in page for task in TASKS)


def test_store_is_whole(built: BuildDirectory) -> None:
    built.is_clean()


# changes


def test_change_is_traced_to_the_recipe(story: BuildDirectory) -> None:
    story.bitbake("app")
    story.edit(APP, '"hello"', '"goodbye"')
    story.append(WORDS, "plum\n")
    story.bitbake("app")
    assert story.causes("app:do_install") == {
        "app:do_compile": {("variable", "GREETING")},
        "words:do_fetch": {("source", "words.txt")},
    }
    in_order(
        story.ask("why", "app:do_stage"),
        "app:do_compile",
        "variable GREETING",
        "-hello",
        "+goodbye",
    )
    assert (story.newest()["ran"], story.newest()["up-to-date"]) == ("10", "9")
    assert story.changes("app:do_compile") == {"M app-0.1/app", "M app-0.1/count"}
    answer = story.json("diff", "latest")
    assert {(each["kind"], each["name"]) for each in answer["causes"]} == {
        ("variable", "GREETING"),
        ("source", "words.txt"),
    }

    before = story.tags()
    assert "Summary" in story.bitbake("app")
    assert story.tags() == before
    assert story.builds() == 2

    story.edit(
        APP,
        "do_compile() {\n",
        "do_compile() {\n    echo half > app\n    echo no such luck >&2\n    exit 3\n",
    )
    said = story.bitbake("app", code=1)
    assert warnings(said) == []
    assert (story.newest()["result"], story.newest()["failed"], story.newest()["ran"]) == (
        "failed",
        "1",
        "0",
    )
    (tag,) = story.tags("failed")
    assert story.git("show", f"refs/tags/{tag}:app-0.1/app") == "half\n"
    failed = story.json("show", tag)
    assert failed["run"]["failed"] and "no such luck" in failed["log"]
    assert story.changes(tag) == {"M app-0.1/app"}
    assert story.causes("app:do_compile") == {"app:do_compile": {("script", "")}}

    story.edit(APP, "    exit 3\n", "")
    story.bitbake("app")
    assert story.newest()["result"] == "ok"
    assert story.changes("app:do_compile") == {"M app-0.1/app"}
    story.is_clean()


def test_change_of_a_class_is_one_cause(story: BuildDirectory) -> None:
    story.bitbake("app")
    story.edit(
        BASE, "    cp -a ${D} ${STAGING}/${PN}\n", "    cp -a ${D} ${STAGING}/${PN}\n    true\n"
    )
    story.bitbake("app")
    assert story.causes("app:do_configure").keys() == {"words:do_stage", "tool:do_stage"}
    assert [each["kind"] for each in story.json("diff", "latest")["causes"]] == ["script"]


def test_overlapping_tasks_have_separate_changes(story: BuildDirectory) -> None:
    story.setting('NOTES_PAUSE = "0.6"')
    story.edit(APP, "do_compile() {\n", "do_compile() {\n    sleep 0.7\n")
    story.bitbake("app")
    assert story.changes("app:do_compile") == {"A app-0.1/app", "A app-0.1/count"}
    assert story.changes("app:do_notes") == {f"A notes/{number}" for number in (1, 2, 3)}
    assert "app:do_notes" in story.facts("app:do_compile")["beside"].split()
    assert "app:do_compile" in story.facts("app:do_notes")["beside"].split()
    assert story.tags("outside") == []


def test_change_by_hand_is_a_separate_commit(story: BuildDirectory) -> None:
    story.bitbake("words", "-c", "unpack")
    (story.workdir("words", "1.0") / "words-1.0/words.txt").write_text("by hand\n")
    story.bitbake("words")
    (tag,) = story.tags("outside")
    assert re.fullmatch(r"outside/small-machine/words/1\.0-[0-9a-f]{8}/1", tag)
    assert story.git("show", f"refs/tags/{tag}:words-1.0/words.txt") == "by hand\n"
    assert story.changes("words:do_compile") == {"A words-1.0/sorted.txt"}


def test_deleted_tmpdir_is_built_and_recorded_again(story: BuildDirectory) -> None:
    story.bitbake("app")
    shutil.rmtree(story.root / "tmp")
    story.bitbake("app")
    assert story.newest()["ran"] == "19"
    assert len(story.tags()) == 2 * 19
    assert story.tags("outside") == []
    assert story.changes("app:do_unpack") == {"A app-0.1/app.txt"}
    story.is_clean()


def test_forced_task_has_a_taint(story: BuildDirectory) -> None:
    story.bitbake("words")
    story.bitbake("words", "-C", "compile")
    assert story.causes("words:do_install") == {"words:do_compile": {("taint", "")}}


# sources and multiconfigs with other directories


EXTERNAL = """
SRC_URI = ""
S = "{source}"
B = "${{WORKDIR}}/build"
do_unpack[cleandirs] = ""
do_fetch[noexec] = "1"
do_unpack[noexec] = "1"
do_compile[file-checksums] = "{source}/main.txt:True"
do_compile() {{
    tr a-z A-Z < ${{S}}/main.txt > loud.txt
}}
do_install() {{
    mkdir -p ${{D}}
    cp loud.txt ${{D}}
}}
"""


def seen(folder: Path) -> list[tuple[str, os.stat_result]]:
    return [(str(path), path.lstat()) for path in sorted([folder, *folder.rglob("*")])]


def same(old: list[tuple[str, os.stat_result]], new: list[tuple[str, os.stat_result]]) -> bool:
    def important(state: os.stat_result) -> tuple[int, ...]:
        return (
            state.st_ino,
            state.st_mode,
            state.st_size,
            state.st_mtime_ns,
            state.st_ctime_ns,
            state.st_nlink,
        )

    return [(path, important(state)) for path, state in old] == [
        (path, important(state)) for path, state in new
    ]


def test_sources_outside_workdir_are_recorded_and_not_changed(
    story: BuildDirectory, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / ".git").mkdir(parents=True)
    (source / "sub").mkdir()
    (source / ".git/config").write_text("[core]\n")
    (source / "main.txt").write_text("quiet\n")
    (source / "sub/link").symlink_to("../main.txt")
    before = seen(source)
    story.write("meta-small/recipes/ext/ext_1.0.bb", EXTERNAL.format(source=source))
    story.bitbake("ext")
    assert same(before, seen(source))
    tag = story.tag("ext:do_compile")
    assert story.facts("ext:do_compile")["outside-0"] == str(source)
    listed = story.git("ls-tree", "-r", "--name-only", f"refs/tags/{tag}^2").split()
    kept = [path for path in listed if path.startswith("outside-0/")]
    assert any(path.endswith("/main.txt") for path in kept) and any(
        path.endswith("/sub/link") for path in kept
    )
    assert not any("config" in path for path in kept)
    assert story.changes("ext:do_compile") == {"A build/loud.txt"}

    (source / "main.txt").write_text("quieter\n")
    before = seen(source)
    story.bitbake("ext")
    assert same(before, seen(source))
    assert story.causes("ext:do_install") == {"ext:do_compile": {("source", "main.txt")}}
    story.is_clean()


def test_multiconfig_has_separate_recipes(story: BuildDirectory) -> None:
    story.append("meta-small/conf/bitbake.conf", "include conf/multiconfig/${BB_CURRENT_MC}.conf\n")
    story.write(
        "conf/multiconfig/other.conf", 'TMPDIR = "${TOPDIR}/tmp-other"\nGREETING = "other"\n'
    )
    story.setting('BBMULTICONFIG = "other"')
    story.edit(APP, "GREETING =", "GREETING ?=")
    story.bitbake("app", "mc:other:app")
    other = {f"mc.other.{task}" for task in TASKS}
    assert story.recorded() == TASKS | other
    assert story.builds() == 1
    facts = story.newest()
    assert (facts["ran"], facts["result"]) == ("38", "ok")
    assert sorted(facts["targets"].split()) == ["app:do_build", "mc:other:app:do_build"]
    assert story.facts("mc.other.app:do_compile")["workdir"] == str(story.workdir(tmp="tmp-other"))
    assert story.json("show", "mc:other:app:do_compile")["inputs"]["variables/GREETING"] == "other"

    story.edit("conf/multiconfig/other.conf", '"other"', '"another"')
    story.bitbake("app", "mc:other:app")
    assert story.causes("mc:other:app:do_install") == {
        "mc.other.app:do_compile": {("variable", "GREETING")}
    }
    assert (story.newest()["ran"], story.newest()["up-to-date"]) == ("3", "35")
    story.is_clean()


# odd names

ODD = ("failed", "outside", "a@b", "gtk+3", "ü", "x.lock")
ODD_RECIPE = """
SRC_URI = ""
addtask öd after do_compile before do_stage
python do_öd() {
    pass
}
"""


def test_recipes_and_tasks_with_odd_names(story: BuildDirectory) -> None:
    for recipe in ODD:
        story.write(f"meta-small/recipes/odd/{recipe}_1.0.bb", ODD_RECIPE)
    story.write("meta-small/recipes/odd/all_1.0.bb", f'SRC_URI = ""\nDEPENDS = "{" ".join(ODD)}"\n')
    said = story.bitbake("all")
    assert "all succeeded" in said
    lost = [line for line in warnings(said) if "tasks are not recorded" in line]
    assert len(lost) == 1 and "failed:do_compile" in lost[0] and "gtk+3:do_compile" not in lost[0]
    assert "gtk+3:do_stage" in story.recorded()
    story.is_clean()


@pytest.fixture
def two(directories: BuildDirectories, tmp_path: Path) -> BuildDirectory:
    """The first of two build directories that share a store and built `app` at the same time."""
    both = [directories("one"), directories("two")]
    for each in both:
        each.setting(f'PROV_STORE = "{tmp_path}/store"\nBB_BASEHASH_IGNORE_VARS:append = " PWD"')
    running = [each.start("bitbake", "app") for each in both]
    for each, process in zip(both, running, strict=True):
        assert warnings(each.ended(process)) == []
        assert not (each.root / ".prov").exists()
        (each.root / ".prov").symlink_to(tmp_path / "store")
    return both[0]


def test_several_build_directories_share_a_store(two: BuildDirectory) -> None:
    assert two.recorded() == TASKS
    assert len([tag for tag in two.tags() if not tag.startswith("outside/")]) == 2 * 19
    assert [each["facts"]["ran"] for each in two.json("builds")["builds"]] == ["19", "19"]
    two.is_clean()


def test_workdirs_of_several_build_directories_are_separate(two: BuildDirectory) -> None:
    assert two.tags("outside") == []


def test_deep_build_directory(tmp_path: Path) -> None:
    """Its socket's path is longer than a socket address can be."""
    story = BuildDirectory(tmp_path / ("d" * 60) / ("e" * 60))
    try:
        story.make()
        assert len(os.fsencode(story.root / ".prov.sock")) > 108
        said = story.bitbake("app")
        assert warnings(said) == []
        assert story.recorded() == TASKS
        assert story.traces() == [".prov", ".prov.sock.lock"]
    finally:
        story.stop()
        shutil.rmtree(tmp_path / ("d" * 60))
