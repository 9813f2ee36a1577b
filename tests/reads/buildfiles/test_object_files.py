"""Names of sources and objects in ELF files and archives."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from prov.reads.buildfiles.object_files import member_names, source_names


def elf(*names: str, bits: int = 64, order: str = "<") -> bytes:
    """Return an ELF file with a symbol table of source files."""
    header, section, symbol = ("HHIQQQIHHHHHH", "IIQQQQIIQQ", "IBBHQQ")
    if bits == 32:
        header, section, symbol = ("HHIIIIIHHHHHH", "10I", "IIIBBH")
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    symbols = b""
    at = 1
    for name in names:
        fields = [at, 4, 0, 0, 0, 0] if bits == 64 else [at, 0, 0, 4, 0, 0]
        symbols += struct.pack(order + symbol, *fields)
        at += len(name.encode()) + 1
    start = 16 + struct.calcsize(order + header)
    sections = [(2, start, len(symbols), 1), (3, start + len(symbols), len(strings), 0)]
    table = b"".join(
        struct.pack(order + section, 0, kind, 0, 0, begin, size, link, 0, 0, 0)
        for kind, begin, size, link in sections
    )
    place = start + len(symbols) + len(strings)
    head = struct.pack(order + header, 1, 62, 1, 0, 0, place, 0, 0, 0, 0, len(table) // 2, 2, 1)
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2]) + bytes(10)
    return ident + head + symbols + strings + table


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return an archive as GNU ar writes it for short names."""
    data = b"!<arch>\n"
    for name, content in members.items():
        head = f"{name + '/':16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
        data += head.encode() + content + b"\n" * (len(content) % 2)
    return data


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_source_names(bits: int, order: str) -> None:
    assert source_names(elf("main.c", "greet.c", bits=bits, order=order)) == {"main.c", "greet.c"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF" + bytes(60),
        elf("a.c")[:90],
        elf("a.c")[:-1],
        archive({"a": b""}),
    ],
)
def test_damaged_and_other_files_have_no_sources(data: bytes) -> None:
    assert source_names(data) == frozenset()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (archive({"main.o": b"odd", "greet.o": b"even"}), {"main.o", "greet.o"}),
        (archive({}), set()),
        (archive({"main.o": b"x"}) + b"?" * 70, {"main.o"}),
        (b"!<arch>\n" + b"x" * 80, set()),
        (elf("main.c"), set()),
        (b"", set()),
    ],
)
def test_member_names(data: bytes, names: set[str]) -> None:
    assert member_names(data) == names


@pytest.mark.process
def test_files_of_gcc_and_ar(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run(command, cwd=tmp_path, check=True)

    long_name = "a_name_that_is_longer_than_sixteen_bytes"
    for name, text in (("main", "int main(void) { return 0; }"), (long_name, "int a;")):
        (tmp_path / f"{name}.c").write_text(text)
        run("gcc", "-c", f"{name}.c")
    run("ar", "rc", "lib.a", "main.o", f"{long_name}.o")
    run("gcc", "-o", "demo", "main.o", f"{long_name}.o")
    assert member_names((tmp_path / "lib.a").read_bytes()) == {"main.o", f"{long_name}.o"}
    assert source_names((tmp_path / "main.o").read_bytes()) == {"main.c"}
    assert source_names((tmp_path / "demo").read_bytes()) >= {"main.c", f"{long_name}.c"}
    run("strip", "demo")
    assert source_names((tmp_path / "demo").read_bytes()) == frozenset()
