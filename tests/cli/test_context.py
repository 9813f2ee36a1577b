"""The store and the project that a command uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from prov_cli import context

from prov.bitbake.setup import BEGIN
from prov.errors import ProvError
from prov.store.repository import Store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROV_STORE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("zlib:compile", "zlib:compile"),
        ("mc:musl:zlib:do_compile", "mc.musl.zlib:do_compile"),
        ("latest~1/mc:musl:zlib:do_compile", "latest~1/mc.musl.zlib:do_compile"),
        ("mc:musl:zlib", "mc.musl.zlib"),
        ("mc:only", "mc:only"),
        ("zlib:compile@{release}", "release/zlib:compile"),
        ("zlib:compile@{latest~2}~1", "latest~2/zlib:compile~1"),
        ("zlib:install@{release}@output/usr", "release/zlib:install@output/usr"),
        ("mc:musl:zlib:do_compile@{latest}", "latest/mc.musl.zlib:do_compile"),
        ("", ""),
    ],
)
def test_names_are_converted_to_the_form_in_the_store(name: str, plain: str) -> None:
    assert context.plain_name(name) == plain
    assert context.plain_name([name, "a:b"]) == [plain, "a:b"]


def test_no_name_stays_none() -> None:
    assert context.plain_name(None) is None


def test_store_comes_from_the_option_the_environment_or_the_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "prov.toml").write_text("")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert context.store_path(None) == folder / ".prov"
    monkeypatch.setenv("PROV_STORE", "other")
    assert context.store_path(None) == folder / "below/other"
    assert context.store_path(Path("mine")) == folder / "below/mine"


@pytest.mark.parametrize("kind", ["project", "store", "bitbake"])
def test_nearest_folder_with_a_project_a_store_or_a_build_is_the_root(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "prov.toml").write_text("another project")
    near = folder / "near"
    (near / "below").mkdir(parents=True)
    if kind == "project":
        (near / "prov.toml").write_text("")
    elif kind == "store":
        Store.create(near / ".prov")
    else:
        (near / "conf").mkdir()
        (near / "conf/bblayers.conf").write_text("")
        (near / "conf/local.conf").write_text(f"{BEGIN}\n")
    monkeypatch.chdir(near / "below")
    assert context.root() == near
    assert (context.project_here() is not None) == (kind == "project")
    monkeypatch.chdir(folder)
    assert context.root() == folder


def test_current_folder_is_the_default_root(folder: Path) -> None:
    assert context.root() == folder


def test_without_a_project_there_are_defaults(folder: Path) -> None:
    store = Store.create(folder / ".prov")
    assert context.project_here() is None
    assert context.work_here() is None
    assert context.sandbox_here() == ""
    assert context.exclude_here() == []
    assert context.rules_here().builds == 20
    assert context.session_here(store, None) is None
    with pytest.raises(
        ProvError,
        match=r"this command needs recipes: neither .* nor a folder above has a prov\.toml",
    ):
        context.open_session(None, None)


def test_settings_come_from_prov_toml(folder: Path) -> None:
    (folder / "prov.toml").write_text(
        'sandbox = "none"\nexclude = ["*.o"]\nbuilddir = "b"\n[gc]\nbuilds = 3\n'
    )
    store = Store.create(folder / ".prov")
    assert context.work_here() == folder / "b/work"
    assert context.sandbox_here() == "none"
    assert context.exclude_here() == ["*.o"]
    assert context.rules_here().builds == 3
    session = context.session_here(store, ["MACHINE=board"])
    assert session is not None and session.store.path == store.path


def test_a_setting_needs_a_value(folder: Path) -> None:
    store = Store.create(folder / ".prov")
    with pytest.raises(typer.BadParameter, match="'X' has no '=': write --set CFLAGS=-O3"):
        context.open_project(store, ["X"])
