"""`prov capture` and `prov run`, without a recipe."""

from __future__ import annotations

from pathlib import Path

from tests.cli.projects import Prov


def test_capture_and_run_need_no_recipe(prov: Prov, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_text("one\n")
    prov("init")
    tag = prov("capture", str(work), "--as", "app:unpack").stdout.strip()
    assert tag.startswith("app/unpack/")
    done = prov(
        "run", "-C", str(work), "--as", "app:compile", "--", "sh", "-c", "echo hi; echo two > b"
    )
    assert done.stdout == "hi\n"
    assert prov("diff", "app:compile").stdout == "A b\n"
    assert "hi" in prov("show", "app:compile").stdout
    assert (
        prov(
            "run", "-C", str(work), "--as", "app:test", "--", "sh", "-c", "exit 5", code=5
        ).returncode
        == 5
    )
    prov("checkout", "app:compile", str(tmp_path / "copy"))
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["a", "b"]
    prov("checkout", "app:compile", str(tmp_path / "links"), "--link")
    assert (tmp_path / "links" / "a").stat().st_nlink == 2
