"""`prov bitbake setup`: changes to the configuration of a build directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.bitbake.setup import check_release, is_build, set_up, undo
from prov.errors import BitBakeError
from tests.bitbake.conftest import BuildDirectories
from tests.bitbake.story import BuildDirectory

FILES = ("conf/bblayers.conf", "conf/local.conf")
TEXTS = {
    "nothing": "",
    "one line": 'A = "b"\n',
    "no newline at the end": 'A = "b"',
    "empty lines at the end": 'A = "b"\n\n\n',
    "windows": 'A = "b"\r\nC = "d"\r\n',
    "not UTF-8": b'A = "\xff\xe9"\n',
}


@pytest.fixture
def plain(directories: BuildDirectories) -> BuildDirectory:
    """A build directory that does not have the layer."""
    return directories(layer=False)


def contents(story: BuildDirectory) -> dict[str, bytes]:
    return {name: (story.root / name).read_bytes() for name in FILES}


def test_setup_prints_the_added_lines(plain: BuildDirectory) -> None:
    said = plain.ask("bitbake", "setup", ".")
    layer = plain.ask("bitbake", "layer").strip()
    assert Path(layer, "conf/layer.conf").is_file()
    for line in (f'BBLAYERS += "{layer}"', 'INHERIT += "prov"'):
        assert line in said
    assert layer in contents(plain)["conf/bblayers.conf"].decode()


def test_second_setup_changes_nothing(plain: BuildDirectory) -> None:
    plain.prov("bitbake", "setup", ".")
    before = contents(plain)
    done = plain.prov("bitbake", "setup", ".")
    assert (done.stdout, done.stderr) == ("", "already set up\n")
    assert contents(plain) == before


def test_undo_without_setup_prints_a_note(plain: BuildDirectory) -> None:
    assert plain.prov("bitbake", "setup", "--undo", ".").stderr == "not set up\n"


def test_missing_build_directory_is_an_error_of_one_line(plain: BuildDirectory) -> None:
    said = plain.prov("bitbake", "setup", "nowhere", code=1).stderr.splitlines()
    assert said == [
        "prov: nowhere/conf/bblayers.conf: No such file or directory",
        "  hint: name a build directory made by `oe-init-build-env`",
    ]


def test_setup_of_a_moved_prov_replaces_the_old_lines(plain: BuildDirectory) -> None:
    plain.prov("bitbake", "setup", ".")
    wanted = contents(plain)
    layer = plain.ask("bitbake", "layer").strip()
    plain.edit("conf/bblayers.conf", layer, "/where/it/was")
    assert "bblayers.conf: added" in plain.ask("bitbake", "setup", ".")
    assert contents(plain) == wanted


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_undo_restores_every_byte(plain: BuildDirectory, text: str | bytes) -> None:
    for name in FILES:
        (plain.root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        (plain.root / name).chmod(0o640)
    before = contents(plain)
    set_up(plain.root)
    assert contents(plain) != before
    undo(plain.root)
    assert contents(plain) == before
    assert {(plain.root / name).stat().st_mode & 0o777 for name in FILES} == {0o640}
    assert undo(plain.root) == []


def test_lines_added_later_stay(plain: BuildDirectory) -> None:
    set_up(plain.root)
    for name in FILES:
        plain.append(name, 'MINE = "1"\n')
    set_up(plain.root)
    undo(plain.root)
    assert all(text.endswith(b'MINE = "1"\n') for text in contents(plain).values())
    assert not any(b"prov" in text for text in contents(plain).values())


def test_links_stay_links(plain: BuildDirectory) -> None:
    """Configurations are often links into a repository."""
    (plain.root / "conf").rename(plain.root / "kept")
    (plain.root / "conf").mkdir()
    for name in ("bblayers.conf", "local.conf"):
        (plain.root / "conf" / name).symlink_to(f"../kept/{name}")
    before = contents(plain)
    set_up(plain.root)
    assert all((plain.root / name).is_symlink() for name in FILES)
    assert 'INHERIT += "prov"' in (plain.root / "kept/local.conf").read_text()
    undo(plain.root)
    assert all((plain.root / name).is_symlink() for name in FILES)
    assert contents(plain) == before


def test_conf_may_be_a_link(plain: BuildDirectory) -> None:
    (plain.root / "conf").rename(plain.root / "kept")
    (plain.root / "conf").symlink_to("kept")
    set_up(plain.root)
    assert 'INHERIT += "prov"' in (plain.root / "kept/local.conf").read_text()


@pytest.mark.parametrize("missing", [*FILES, "conf", "."])
def test_incomplete_build_directory_is_rejected(
    plain: BuildDirectory, tmp_path: Path, missing: str
) -> None:
    (plain.root / missing).rename(tmp_path / "elsewhere")
    plain.root.mkdir(exist_ok=True)
    with pytest.raises(BitBakeError, match="No such file or directory") as caught:
        set_up(plain.root)
    assert caught.value.hint.startswith("name a build directory")
    assert not any(b"prov" in path.read_bytes() for path in plain.root.rglob("*.conf"))


def test_file_that_cannot_be_read_is_an_error_of_one_line(plain: BuildDirectory) -> None:
    os.remove(plain.root / "conf/local.conf")
    (plain.root / "conf/local.conf").mkdir()
    assert "Is a directory" in plain.refused("bitbake", "setup", ".")


# releases


def release(root: Path, version: str, series: str) -> Path:
    """Make a checkout with BitBake next to the core layer, and return its build directory."""
    for name, text in {
        "bitbake/bin/bitbake": f'#!/usr/bin/env python3\n__version__ = "{version}"\n',
        "meta/conf/layer.conf": f'LAYERSERIES_CORENAMES = "{series}"\n',
        "build/conf/local.conf": "",
        "build/conf/bblayers.conf": (
            f'# "/old/meta"\nOEROOT = "{root}"\nBBLAYERS ?= " \\\n  ${{OEROOT}}/meta \\\n  "\n'
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / "build"


@pytest.mark.parametrize(
    ("version", "series", "words"),
    [
        ("2.0.0", "kirkstone", "BitBake 2.0.0 with OpenEmbedded kirkstone is not supported"),
        ("1.46.0", "", "BitBake 1.46.0 is not supported"),
        ("2.8.1", "nanbield", "BitBake 2.8.1 with OpenEmbedded nanbield is not supported"),
    ],
)
def test_unsupported_release_is_rejected(
    tmp_path: Path, version: str, series: str, words: str
) -> None:
    build = release(tmp_path, version, series)
    before = {path: path.read_bytes() for path in build.rglob("*.conf")}
    with pytest.raises(BitBakeError, match=words) as caught:
        set_up(build)
    assert caught.value.hint.startswith(
        "use BitBake 2.8 or newer with one of the OpenEmbedded releases scarthgap, "
    )
    assert {path: path.read_bytes() for path in build.rglob("*.conf")} == before
    assert undo(build) == []


@pytest.mark.parametrize(
    ("version", "series"), [("2.8.1", "scarthgap"), ("2.18.0", "wrynose"), ("2.12", "walnascar")]
)
def test_supported_release_is_accepted(tmp_path: Path, version: str, series: str) -> None:
    assert len(set_up(release(tmp_path, version, series))) == 2


def test_release_is_read_from_the_users_bitbake_if_layers_have_none(
    plain: BuildDirectory, tmp_path: Path
) -> None:
    program = tmp_path / "bitbake"
    program.write_text('__version__ = "2.0.0"\n')
    with pytest.raises(BitBakeError, match=r"BitBake 2\.0\.0 .*is not supported"):
        check_release(plain.root, str(program))
    check_release(plain.root)


# the store of a build directory


def test_build_directory_with_a_store_or_the_layer_is_recorded(
    plain: BuildDirectory, tmp_path: Path
) -> None:
    assert not is_build(plain.root)
    (plain.root / ".prov").mkdir()
    assert is_build(plain.root)
    (plain.root / ".prov").rmdir()
    set_up(plain.root)
    assert is_build(plain.root)
    assert not is_build(tmp_path)


def test_commands_in_a_build_directory_use_its_store(plain: BuildDirectory, tmp_path: Path) -> None:
    (tmp_path / "prov.toml").write_text("")
    set_up(plain.root)
    assert f"{plain.root}/.prov" in plain.refused("builds")
