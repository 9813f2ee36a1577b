"""`prov var`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.projects import Prov, write


def test_var_shows_where_a_value_is_set(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, "version = '1'\n[variables]\nCFLAGS = '-O1'\n")
    settings = (tmp_path / "prov.toml").read_text()
    (tmp_path / "prov.toml").write_text(settings + 'CFLAGS = "-O0"\n')
    lines = prov("var", "CFLAGS", "a", "--set", "CFLAGS=-O3 ${PN}").stdout.splitlines()
    assert [line.rpartition("(")[2].rstrip(")") for line in lines[:-1]] == [
        "class base",
        str(tmp_path / "recipes/a.toml"),
        str(tmp_path / "prov.toml"),
        "--set",
    ]
    assert lines[-1] == "expanded: -O3 a"
