from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prov.files import (
    LONGEST_PATH,
    locked,
    make_folder,
    open_folder,
    purpose,
    read_cache,
    remove_tree,
    replace_file,
    set_mode,
    status,
    temporary_name,
    try_locked,
    within_reach,
    write_cache,
)


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    old = path.stat().st_ino
    replace_file(path, b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != old
    assert os.listdir(tmp_path) == ["f"]


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "f").symlink_to("other")
    replace_file(tmp_path / "f", b"new")
    assert (tmp_path / "other").read_text() == "other"


def test_an_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"/d'") as caught:
        (tmp_path / "d").mkdir()
        replace_file(tmp_path / "d", b"")
    assert caught.value.filename == str(tmp_path / "d")


def test_a_long_name_has_a_short_temporary_one() -> None:
    assert len(temporary_name("x" * 255)) < 40
    assert temporary_name("a") != temporary_name("b")


def test_folders_are_made_with_those_above(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_cache_is_read_back(tmp_path: Path) -> None:
    value = {"a": (1, b"x", None)}
    write_cache(tmp_path / "c", value)
    assert read_cache(tmp_path / "c") == value
    assert read_cache(tmp_path / "missing") is None


def test_a_renamed_or_changed_cache_is_not_read(tmp_path: Path) -> None:
    write_cache(tmp_path / "c", 1)
    data = (tmp_path / "c").read_bytes()
    (tmp_path / "d").write_bytes(data)
    assert read_cache(tmp_path / "d") is None
    (tmp_path / "c").write_bytes(data[:-1] + b"\x05")
    assert read_cache(tmp_path / "c") is None
    assert purpose(tmp_path / "c") == b"cache c\0"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "l"
    with locked(path), try_locked(path) as free:
        assert not free
    with try_locked(path) as free:
        assert free


def test_the_status_of_a_file_that_is_missing(tmp_path: Path) -> None:
    assert status(tmp_path / "f") is None
    assert status(tmp_path) is not None


def test_a_mode_is_set_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch(0o600)
    set_mode(path, 0o044, add=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    set_mode(path, 0o400)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(OSError, match="link"):
        open_folder(tmp_path / "link")


def test_a_tree_of_any_depth_and_mode_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for number in range(100):
        os.mkdir("x" * 50, dir_fd=folder)
        os.close(os.open("f", os.O_CREAT, 0o000, dir_fd=folder))
        inside = os.open("x" * 50, os.O_RDONLY, dir_fd=folder)
        os.fchmod(folder, 0o000 if number % 3 == 0 else 0o755)
        os.close(folder)
        folder = inside
    os.close(folder)
    remove_tree(top)
    assert os.listdir(tmp_path) == []


def test_a_path_too_long_for_the_kernel_is_reached(tmp_path: Path) -> None:
    path, fd = os.fsencode(tmp_path), os.open(tmp_path, os.O_RDONLY)
    while len(path) <= LONGEST_PATH + 1000:
        os.mkdir("x" * 200, dir_fd=fd)
        inside = os.open("x" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        path, fd = path + b"/" + b"x" * 200, inside
    os.close(fd)
    with within_reach(path) as near:
        assert stat.S_ISDIR(os.lstat(near).st_mode)
    remove_tree(tmp_path / ("x" * 200))
