"""Reading a store that another person made or can write to runs none of their programs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.files import read_cache, write_cache
from prov.store.git import run_git
from prov.store.objects import MODE_DIRECTORY, MODE_SYMLINK, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.cli.story import Project
from tests.commands import PROV

COMMANDS = (
    ("log", "a:go"),
    ("show", "a:go"),
    ("diff", "a:go"),
    ("diff", "--patch", "a:go"),
    ("diff", "--stat", "a:go"),
    ("builds",),
    ("why", "a:go"),
    ("fsck",),
    ("gc", "--dry-run"),
    ("remote", "list"),
)
SETTINGS = {
    "external diff": ("diff.external={program}",),
    "textconv": ("diff.e.textconv={program}", "core.attributesFile={folder}/attributes"),
    "promisor": (
        "remote.e.promisor=true",
        "remote.e.url=file://{folder}",
        "remote.e.uploadpack={program}",
    ),
    "partial clone": ("extensions.partialClone=e", "remote.e.url=ext::{program}"),
    "programs": (
        *(
            "core.fsmonitor={program}",
            "core.sshCommand={program}",
            "core.pager={program}",
            "core.editor={program}",
        ),
        *(
            "core.alternateRefsCommand={program}",
            "gpg.program={program}",
            "gc.recentObjectsHook={program}",
        ),
    ),
    "hooks": (
        "core.hooksPath={folder}/hooks",
        "hook.h.command={program}",
        "hook.h.event=reference-transaction",
    ),
    "include": ("include.path=more",),
}


@pytest.fixture
def victim(small: Project) -> Project:
    """A project whose task ran twice, with different outputs."""
    small.task("echo 1 > out/x")
    small.prov("build", "a:go")
    small.edit("recipes/a.toml", "echo 1", "echo 2")
    small.prov("build", "a:go")
    return small


def look(*command: str, folder: Path) -> None:
    """Run a command and ignore its result."""
    subprocess.run(
        [PROV, *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def plant(store: Path, settings: tuple[str, ...], mark: Path) -> None:
    """Make a store hostile: add a program that writes a marker file, and settings that name it."""
    program = store / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {mark}\ncat\n")
    program.chmod(0o755)
    (store / "hooks").mkdir(exist_ok=True)
    (store / "info").mkdir(exist_ok=True)
    if any("textconv" in setting for setting in settings):
        for path in (store / "attributes", store / "info/attributes"):
            path.write_text("* diff=e\n")
    for name in ("reference-transaction", "post-index-change", "pre-auto-gc"):
        shutil.copy(program, store / "hooks" / name)
    (store / "more").write_text(f"[diff]\n\texternal = {program}\n")
    with (store / "config").open("a") as config:
        for setting in settings:
            name, _, value = setting.format(program=program, folder=store).partition("=")
            section, _, key = name.rpartition(".")
            top, _, own = section.partition(".")
            header = f'[{top} "{own}"]' if own else f"[{top}]"
            config.write(f"{header}\n\t{key} = {value}\n")


@pytest.mark.parametrize("kind", SETTINGS)
def test_no_program_of_its_configuration_runs(kind: str, victim: Project, tmp_path: Path) -> None:
    theirs, mark = tmp_path / "theirs", tmp_path / "mark"
    shutil.copytree(victim.root / ".prov", theirs, symlinks=True)
    plant(theirs, SETTINGS[kind], mark)
    if kind in ("promisor", "partial clone"):  # from which git would fetch a missing object
        (theirs / "refs/tags/a/go" / ("1" * 40)).mkdir(parents=True)
        (theirs / "refs/tags/a/go" / ("1" * 40) / "1").write_text("1" * 40 + "\n")
    for command in COMMANDS:
        look(*command, "--store", str(theirs), folder=tmp_path)
        assert not mark.exists(), f"prov {' '.join(command)} ran the store's program"
    for command in (("why", "a:go"), ("diff",)):
        look(*command, "--against", str(theirs), folder=victim.root)
        assert not mark.exists(), f"prov {' '.join(command)} --against ran the store's program"


def test_settings_that_prov_does_not_know_do_no_harm(victim: Project, tmp_path: Path) -> None:
    """As after `git remote add`: prov uses the store, and git sees only prov's view of it."""
    for name, value in (
        ("remote.origin.url", "/nowhere"),
        ("user.name", "Ann"),
        ("core.pager", "less"),
    ):
        victim.git("config", name, value)
    assert "a:go" in victim.ask("log", "a:go")
    victim.edit("recipes/a.toml", "echo 2", "echo 3")
    victim.prov("build", "a:go")
    assert victim.git("config", "user.name") == "Ann\n"
    victim.prov("remote", "add", "team", str(tmp_path / "cache.git"), "--trust", "none")
    assert "team" in victim.ask("remote", "list")
    victim.prov("remote", "remove", "team")
    assert "team" not in victim.ask("remote", "list")


def test_refs_change_by_way_of_a_view(store: Store) -> None:
    """The view's links lead to the repository's own files: loose and packed, new and deleted."""
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    with (store.path / "config").open("a") as config:
        config.write("[core]\n\tpager = less\n")
    store.refs.update(RefUpdate("refs/prov/one", oid), RefUpdate("refs/prov/two", oid))
    store.refs.pack(at_once=True)
    assert (store.path / "packed-refs").is_file() and not (store.path / "packed-refs").is_symlink()
    store.refs.update(RefUpdate("refs/prov/one", None))
    assert Store.open(store.path).refs.list("refs/prov/") == {"refs/prov/two": oid}
    run_git(store.path, ["fsck", "--strict"])


def test_a_store_that_others_can_write_to_is_looked_at_by_a_view(store: Store) -> None:
    """They could change the configuration after prov has checked it."""
    store.path.chmod(0o777)
    assert run_git(store.path, ["rev-parse", "--git-dir"]).decode().strip() != str(store.path)
    store.path.chmod(0o755)
    assert run_git(store.path, ["rev-parse", "--git-dir"]).decode().strip() == str(store.path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "huge", "include"])
def test_a_configuration_that_cannot_be_read_is_named(kind: str, store: Store) -> None:
    path = store.path / "config"
    text = path.read_text()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.write_text(text + "#" * (2 << 20))
    else:
        path.write_text(text + "[Include]\n\tpath = /dev/zero\n")
    with pytest.raises(StoreError):
        Store.open(store.path)


def test_links_in_its_folder_for_what_can_be_made_again_are_not_followed(
    victim: Project, tmp_path: Path
) -> None:
    """Its locks are links to missing files, which reading does not create."""
    theirs, home = tmp_path / "theirs", tmp_path / "home"
    home.mkdir()
    shutil.copytree(victim.root / ".prov", theirs, symlinks=True)
    locks = theirs / "prov" / "locks"
    shutil.rmtree(locks, ignore_errors=True)
    locks.mkdir(parents=True)
    for name in ("lease", "consolidate", "sweep", "deploy"):
        (locks / name).symlink_to(home / name)
    for command in COMMANDS:
        look(*command, "--store", str(theirs), folder=tmp_path)
    assert list(home.iterdir()) == []


def test_what_another_user_remembered_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """marshal is unsafe for untrusted input, so prov does not read another person's caches."""
    path = tmp_path / "memory"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    write_cache(path, ("form", b"value"))
    assert read_cache(path) == ("form", b"value")
    theirs = path.read_bytes()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    assert read_cache(path) is None
    write_cache(path, ("form", b"value"))
    mine = path.read_bytes()
    bomb = b"[" + (0x7FFFFFFF).to_bytes(4, "little")
    for content in (
        theirs,
        hashlib.sha1(bomb).digest() + bomb,
        mine[:32] + bomb,
        mine[:-1],
        mine[:32],
        b"",
    ):
        path.write_bytes(content)
        assert read_cache(path) is None
    path.write_bytes(mine)
    path.rename(tmp_path / "other")
    assert read_cache(tmp_path / "other") is None, "what is remembered of something else"


def test_without_a_key_nothing_is_remembered(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    small.task("echo 1 > out/x")
    assert "1 ran" in small.ask("build", "a:go")
    assert "nothing to do" in small.ask("build", "a:go")
    assert list((small.root / ".prov/prov/workdirs").glob("*")) == []


@pytest.mark.parametrize("sandbox", ["none", "bwrap"])
def test_links_in_a_recorded_workdir_lead_nowhere(
    sandbox: str, victim: Project, tmp_path: Path
) -> None:
    """A record has links in place of prov's own folders in a WORKDIR; a restore does not follow."""
    outside = tmp_path / "outside"
    outside.mkdir()
    store = Store(victim.root / ".prov")
    tag = f"refs/tags/{victim.tag('a:go')}"
    oid = store.refs.get(tag)
    assert oid is not None
    run = store.objects.commit(oid)
    with store.objects.writer() as writer:
        link = writer.add("blob", os.fsencode(outside))
        links = [
            Entry(name, MODE_SYMLINK, link)
            for name in (b"recipe-sysroot", b"recipe-sysroot-native")
        ]
        file = writer.add("blob", os.fsencode(outside / "file"))
        inside = [Entry(name, MODE_SYMLINK, file) for name in (b"run.go", b"log.go")]
        temp = Entry(b"temp", MODE_DIRECTORY, writer.add_tree(inside))
        tree = writer.add_tree([*store.objects.tree(run.tree), *links, temp])
        hostile = writer.add_commit(replace(run, tree=tree))
    store.refs.update(RefUpdate(tag, hostile))
    for command in (
        ("rerun", "a:go"),
        ("shell", "a:go", "--", "true"),
        ("shell", "--before", "a:go", "--", "true"),
    ):
        look(command[0], "--sandbox", sandbox, *command[1:], folder=victim.root)
    assert list(outside.iterdir()) == []
