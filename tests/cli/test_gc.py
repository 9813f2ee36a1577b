"""`prov gc`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.story import Project, small_project
from tests.mounts import small_disk

pytestmark = pytest.mark.process

OLD = ("--builds", "1", "--workdirs", "1", "--days", "0")


def test_dry_run_lists_deletions_and_deletes_nothing(two: Project) -> None:
    before = two.refs()
    lines = two.ask("gc", *OLD, "--dry-run").splitlines()
    assert any(
        line.startswith("by rule ") and line.endswith(" would be deleted") for line in lines[:-1]
    )
    assert lines[-1].endswith(" would be deleted")
    assert two.refs() == before


def test_old_results_are_deleted_and_counted(two: Project) -> None:
    planned = two.json("gc", *OLD, "--dry-run")
    deleted = two.json("gc", *OLD)
    assert deleted["refs"] == planned["refs"] != []
    assert not deleted["in_use"]
    assert all(row["ref"] not in two.refs() for row in deleted["refs"])
    assert two.ask("gc", *OLD) == "0 objects, 0 B were deleted\n"


def test_options_override_the_projects_rules(two: Project) -> None:
    two.append("prov.toml", "[gc]\nbuilds = 1\nworkdirs = 1\ndays = 0\n")
    assert two.json("gc", "-n")["refs"] != []
    assert two.json("gc", "-n", "--builds", "9", "--workdirs", "9", "--days", "9")["refs"] == []


def test_too_little_free_space_is_reported(two: Project) -> None:
    done = two.prov("gc", "--min-free", "900T", code=1)
    assert "only " in done.stderr and "free, less than 900T" in done.stderr
    assert "hint: remove labels and pins" in done.stderr
    answer = two.json("gc", "--min-free", "900T", "--dry-run", code=1)
    assert answer["free_bytes"] > 0


def test_enough_free_space_deletes_by_age_only(two: Project) -> None:
    assert two.json("gc", "--min-free", "1M", "-n")["refs"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_room_is_made_for_a_refused_build(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "60m") as disk:
        project = small_project(disk / "project")
        project.edit("prov.toml", "rm touch", "rm touch head")
        for number in range(4):
            project.task(f"head -c 4000000 /dev/urandom > out/{number}")
            project.prov("build", "a")
        for pack in (disk / "project/.prov/objects/pack").iterdir():
            os.utime(pack, (0, 0))
        free = shutil.disk_usage(disk).free
        limit = f"{(free + 6_000_000) // 1000}K"
        project.append("prov.toml", f'[store]\nmin_free = "{limit}"\n')
        refused = project.refused("build", "a")
        assert f"{disk}/project/.prov: " in refused
        assert f"below the limit min_free = {limit}" in refused
        assert (
            f"hint: free space on this file system, or run `prov gc --min-free {limit}`" in refused
        )
        answer = project.json("gc", "--min-free", limit)
        assert answer["free_bytes"] >= free + 6_000_000
        left = project.json("query", "select count(*) as n from runs where workdir_commit != ''")
        assert 1 <= left["rows"][0]["n"] < 4
        project.prov("build", "a")
