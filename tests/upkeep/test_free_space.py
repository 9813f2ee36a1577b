"""The limit of free space below which no build starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.errors import BuildError, RecipeError
from prov.upkeep.free_space import check_free_space, free_space


def test_free_space_is_what_the_user_can_write(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert free_space(tmp_path) <= status.f_bfree * status.f_frsize


@pytest.mark.parametrize("table", [{}, {"store": {}}, {"store": {"min_free": "1M"}}])
def test_enough_space(tmp_path: Path, table: dict[str, object]) -> None:
    check_free_space(tmp_path, table, "prov.toml")


def test_too_little_space_names_folder_space_and_limit(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as raised:
        check_free_space(tmp_path, {"store": {"min_free": "900T"}}, "prov.toml")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}: ")
    assert message.endswith(" free, below the limit min_free = 900T in prov.toml")
    assert "prov gc --min-free 900T" in raised.value.hint


@pytest.mark.parametrize("table", [{"min_fre": "1G"}, {"min_free": 5}])
def test_invalid_tables(tmp_path: Path, table: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        check_free_space(tmp_path, {"store": table}, "prov.toml")


def test_invalid_sizes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"prov\.toml: store\.min_free: invalid size 'much'"):
        check_free_space(tmp_path, {"store": {"min_free": "much"}}, "prov.toml")
