"""Tests of parsing files once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.errors import RecipeError
from prov.files import read_cache, write_cache
from prov.recipes import parsed_files
from prov.recipes.parsed_files import CACHE_FORMAT, ParsedFiles, parse_toml


def cached(memory: Path) -> list[str]:
    """Return the names of the files in a cache."""
    _format, tables = read_cache(memory)
    return sorted(Path(path).name for path in tables)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = ", "invalid TOML: Invalid value"),
        (b"\xff", "invalid TOML: 'utf-8' codec can't decode"),
        (b"a = " + b"[" * 100_000, "invalid TOML: "),
        (b"a = " + b"9" * 5000, "invalid TOML: "),
        (b"a = 1\na = 2\n", "invalid TOML: Cannot overwrite a value"),
    ],
)
def test_invalid_toml(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(RecipeError) as raised:
        parse_toml(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert len(str(raised.value)) < 600 + len(str(path))


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the file: Is a directory"):
        parse_toml(tmp_path)


def test_a_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("versio = '1'")
    with pytest.raises(RecipeError, match="unknown key `versio`"):
        ParsedFiles().parse(path)


def test_a_script_file_is_read_in(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[tasks.go]\nscript_file = "go.sh"\n[tasks.other]\nscript = "x"\n')
    with pytest.raises(
        RecipeError, match=r"tasks\.go\.script_file: .*/go\.sh does not exist"
    ) as raised:
        ParsedFiles().parse(path)
    assert raised.value.hint == "use a path relative to a.toml"
    (tmp_path / "go.sh").write_text("make\n")
    assert ParsedFiles().parse(path)["tasks"] == {
        "go": {"script_file": "go.sh", "script": "make\n"},
        "other": {"script": "x"},
    }
    (tmp_path / "go.sh").write_bytes(b"\xff")
    with pytest.raises(RecipeError, match=r"tasks\.go\.script_file: cannot read 'go\.sh'"):
        ParsedFiles().parse(path)


def test_a_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "a.toml", tmp_path / "cache" / "recipes"
    path.write_text("version = '1'")
    files = ParsedFiles(memory)
    assert files.parse(path) is files.parse(path)
    files.save()
    assert cached(memory) == ["a.toml"]
    monkeypatch.setattr(parsed_files, "parse_toml", None)
    assert ParsedFiles(memory).parse(path) == {"version": "1"}


def test_a_file_that_changed_is_parsed_again(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.toml", tmp_path / "recipes"
    path.write_text("version = '1'")
    files = ParsedFiles(memory)
    files.parse(path)
    files.save()
    times = path.stat()
    path.write_text("version = '2'")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # only its change time differs
    assert ParsedFiles(memory).parse(path) == {"version": "2"}


def test_a_script_file_is_read_each_time(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.toml", tmp_path / "recipes"
    path.write_text('[tasks.go]\nscript_file = "go.sh"\n')
    for text in ("one", "two"):
        (tmp_path / "go.sh").write_text(text)
        files = ParsedFiles(memory)
        assert files.parse(path)["tasks"]["go"]["script"] == text
        files.save()


def test_a_cache_of_a_different_format_is_ignored(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.toml", tmp_path / "recipes"
    path.write_text("version = '1'")
    files = ParsedFiles(memory)
    files.parse(path)
    files.save()
    _format, tables = read_cache(memory)
    for table in tables.values():
        table[1]["version"] = "of an older check"
    write_cache(memory, (CACHE_FORMAT - 1, tables))
    assert ParsedFiles(memory).parse(path) == {"version": "1"}
    write_cache(memory, (CACHE_FORMAT, tables))
    assert ParsedFiles(memory).parse(path) == {"version": "of an older check"}


def test_an_unwritable_cache_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("version = '1'")
    files = ParsedFiles(path / "no folder" / "recipes")
    assert files.parse(path) == {"version": "1"}
    files.save()
    assert path.read_text() == "version = '1'"


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    memory = tmp_path / "recipes"
    ParsedFiles(memory).save()
    assert not memory.exists()
