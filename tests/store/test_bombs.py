"""Untrusted packs and indexes: entries larger than declared, and deltas of large objects."""

from __future__ import annotations

import hashlib
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.git import make_bare
from prov.store.objects import object_id
from prov.store.odb import ObjectDatabase, TooLarge
from prov.store.packs import PackFile, PackStream
from prov.transport.pack_ranges import PackIndex, open_entry

SIZE = 300_000_000


def write_pack(folder: Path, entry: bytes, oid: bytes = bytes(20), offset: int = 12) -> Path:
    """Write a pack with one entry, and its index."""
    folder.mkdir(exist_ok=True)
    pack = b"PACK" + struct.pack(">II", 2, 1) + entry
    pack += hashlib.sha1(pack).digest()
    fanout = b"".join(struct.pack(">I", int(byte >= oid[0])) for byte in range(256))
    index = b"\xfftOc\0\0\0\x02" + fanout + oid + bytes(4) + struct.pack(">I", offset) + pack[-20:]
    index += hashlib.sha1(index).digest()
    (folder / "pack-x.pack").write_bytes(pack)
    (folder / "pack-x.idx").write_bytes(index)
    return folder / "pack-x.idx"


def in_little_memory(code: str, *arguments: str) -> str:
    """Run Python with 200 MB of address space beyond what it has at its start."""
    head = (
        "import resource, sys\nfrom pathlib import Path\nfrom prov.store.odb import"
        " ObjectDatabase\nfrom prov.store.packs import PackFile\nfrom prov.errors import"
        " StoreError\nused = int(Path('/proc/self/statm').read_text().split()[0]) * 4096 + (200 <<"
        " 20)\nresource.setrlimit(resource.RLIMIT_AS, (used, used))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_an_entry_that_inflates_to_more_than_declared(tmp_path: Path) -> None:
    bomb = b"\xb5\x00" + zlib.compress(bytes(SIZE), 9)  # a blob of five bytes
    index = write_pack(tmp_path / "pack", bomb)
    code = (
        "pack = PackFile(Path(sys.argv[1]))\n"
        "for read in (pack.read, lambda place: b''.join(pack.stream(place)[2])):\n"
        "    try: read(0)\n"
        "    except StoreError as error: print('damaged' in str(error))\n"
    )
    assert in_little_memory(code, str(index)).split() == ["True", "True"]


def test_an_entry_that_declares_an_impossible_size(tmp_path: Path) -> None:
    index = write_pack(tmp_path / "pack", b"\xb0" + b"\xff" * 5 + b"\x7f" + zlib.compress(b"x"))
    with pytest.raises(StoreError, match="damaged"):
        PackFile(index).read(0)


@pytest.mark.parametrize("offset", [0, 5, 10_000, 0x7FFFFFFF, 0x80000000])
def test_an_invalid_offset(offset: int, tmp_path: Path) -> None:
    index = write_pack(tmp_path / "pack", b"\x31" + zlib.compress(b"x"), offset=offset)
    for ask in (PackFile.read, PackFile.stream, PackFile.measure):
        with pytest.raises(StoreError):
            ask(PackFile(index), 0)
    assert PackIndex(index).extent(bytes(20), 100) is None


def test_a_decreasing_fanout(tmp_path: Path) -> None:
    index = write_pack(tmp_path / "pack", b"\x31" + zlib.compress(b"x"))
    data = bytearray(index.read_bytes())
    data[8 : 8 + 4 * 200] = struct.pack(">I", 1 << 30) * 200
    index.unlink()
    index.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        PackFile(index)


@pytest.mark.slow
def test_a_range_that_inflates_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "range"
    path.write_bytes(b"\x35" + zlib.compress(bytes(SIZE), 9))
    with open(path, "rb") as stream:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        entry = open_entry(stream.fileno(), 0)
        assert entry is not None and entry[:2] == ("blob", 5)
        with pytest.raises(ValueError):
            list(entry[2])
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def make_deltas(git_dir: Path) -> bytes:
    """Make git store a small blob as a delta of a large one; return its id."""
    make_bare(git_dir)
    stream = PackStream(git_dir / "objects/pack")
    data = bytes(SIZE)
    stream.add(object_id("blob", data), "blob", data)
    stream.finish()
    delta = b"".join((_varint(SIZE), _varint(30), b"\x90\x1e"))
    base = object_id("blob", data)
    entry = bytes([7 << 4 | len(delta)]) + base + zlib.compress(delta)
    pack = b"PACK" + struct.pack(">II", 2, 1) + entry
    pack += hashlib.sha1(pack).digest()
    command = ["git", f"--git-dir={git_dir}", "index-pack", "--stdin", "--fix-thin"]
    subprocess.run(command, input=pack, capture_output=True, check=True)
    return object_id("blob", bytes(30))


def _varint(number: int) -> bytes:
    text = b""
    while number > 127:
        text += bytes([number & 127 | 128])
        number >>= 7
    return text + bytes([number])


def test_a_small_delta_of_a_large_file(tmp_path: Path) -> None:
    oid = make_deltas(tmp_path / "git")
    code = (
        "objects = ObjectDatabase(Path(sys.argv[1]), most=1 << 20)\n"
        "oid = bytes.fromhex(sys.argv[2])\n"
        "print(objects.header(oid)[1])\n"
        "try: objects.blob(oid)\n"
        # git runs under the same limit
        "except StoreError as error: print('exited early' in str(error))\n"
    )
    assert in_little_memory(code, str(tmp_path / "git"), oid.hex()).split() == ["30", "True"]
    objects = ObjectDatabase(tmp_path / "git", most=1 << 20)
    assert objects.blob(oid) == bytes(30)


def test_a_large_object_is_not_read(tmp_path: Path) -> None:
    make_bare(tmp_path)
    with ObjectDatabase(tmp_path).writer() as writer:
        small, large = writer.add_blob(b"x" * 10), writer.add_blob(b"x" * 11)
    objects = ObjectDatabase(tmp_path, most=10)
    assert objects.blob(small) == b"x" * 10
    with pytest.raises(TooLarge, match="11 bytes, the limit is 10"):
        objects.blob(large)
    assert objects.blob(large, most=11) == b"x" * 11
    assert objects.header(large) == ("blob", 11)
    assert ObjectDatabase(tmp_path).blob(large) == b"x" * 11
