"""prov changes no hashes, and does nothing when BitBake does not build."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bitbake.conftest import BuildDirectories
from tests.bitbake.story import BASE, BuildDirectory, live, warnings
from tests.commands import PROV

pytestmark = [pytest.mark.process, live]


def test_commands_that_build_nothing_leave_nothing(story: BuildDirectory) -> None:
    for command in (
        ["bitbake", "-p"],
        ["bitbake", "-e", "app"],
        ["bitbake", "-n", "app"],
        ["bitbake", "-S", "none", "app"],
        ["bitbake", "-g", "app"],
        ["bitbake-layers", "show-layers"],
    ):
        said = story.ended(story.start(*command))
        assert warnings(said) == [], command
        assert set(story.traces()) <= {".prov.sock.lock"}, command


def test_dry_run_after_a_change_leaves_the_store_unchanged(story: BuildDirectory) -> None:
    story.bitbake("words")
    before, traces = story.refs(), story.traces()
    story.edit(
        "meta-small/recipes/words/words_1.0.bb", "    sort words.txt", "    sort -r words.txt"
    )
    for command in (["-n", "words"], ["-S", "none", "words"], ["words", "-c", "fetch"]):
        story.bitbake(*command)
        assert (story.refs(), story.traces()) == (before, traces), command


CLEAN = """
addtask clean
do_clean[nostamp] = "1"
python do_clean() {
    bb.utils.remove(d.getVar('WORKDIR'), True)
    bb.utils.remove(d.getVar('STAMP') + '.*')
}
"""


def test_ignored_tasks_are_not_recorded(story: BuildDirectory) -> None:
    story.append(BASE, CLEAN)
    story.bitbake("words")
    story.bitbake("words", "-c", "clean")
    assert story.builds() == 1
    assert "words:do_clean" not in story.recorded()
    assert not story.workdir("words", "1.0").exists()
    story.edit("meta-small/recipes/words/words_1.0.bb", "sort words.txt", "sort -r words.txt")
    assert warnings(story.bitbake("words")) == []
    assert story.tags("outside") == []


def stamps(story: BuildDirectory) -> set[str]:
    folder = story.root / "tmp/stamps"
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "do_build" not in path.name
    }


def signature_files(story: BuildDirectory) -> set[str]:
    return {name for name in stamps(story) if ".sig" in name}


def test_hashes_are_the_same_without_the_layer(directories: BuildDirectories) -> None:
    story = directories(layer=False)
    found = []
    for _ in range(2):
        story.bitbake("-S", "none", "app")
        signatures = signature_files(story)
        story.bitbake("app")
        found.append((signatures, stamps(story)))
        shutil.rmtree(story.root / "tmp")
        story.prov("bitbake", "setup", ".")
    assert len(found[0][0]) == 19 and len(found[0][1]) >= 19
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]
    assert story.newest()["ran"] == "19"


def test_adding_the_layer_later_reruns_nothing(directories: BuildDirectories) -> None:
    story = directories(layer=False)
    story.bitbake("app")
    story.prov("bitbake", "setup", ".")
    assert "19 didn't need to be rerun" in story.bitbake("app")
    story.prov("bitbake", "setup", "--undo", ".")
    assert "19 didn't need to be rerun" in story.bitbake("app")
    assert story.builds() == 0


@pytest.mark.parametrize("handler", ["basic", "basichash"])
def test_signature_handlers(story: BuildDirectory, handler: str) -> None:
    story.setting(f'BB_SIGNATURE_HANDLER = "{handler}"')
    assert warnings(story.bitbake("words")) == []
    assert (story.newest()["ran"], story.newest()["result"]) == ("7", "ok")
    assert len(story.facts("words:do_compile")["bitbake-taskhash"]) == 64


def test_layer_by_bitbake_layers(directories: BuildDirectories) -> None:
    """Add the layer like any other, and enable it in local.conf."""
    story = directories(layer=False)
    layer = story.ask("bitbake", "layer").strip()
    assert Path(layer).is_dir()
    said = story.ended(story.start("bitbake-layers", "add-layer", layer))
    assert "ERROR" not in said
    story.setting(f'INHERIT:append = " prov"\nPROV_COMMAND = "{PROV}"')
    story.bitbake("words")
    assert story.newest()["ran"] == "7"
