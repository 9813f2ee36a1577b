"""Inputs that broke the rule for parsers once.

Every run tests them. Add new findings of `make fuzz` here.
"""

from __future__ import annotations

import struct

from isal import isal_zlib

_PACK = b"PACK\0\0\0\2\0\0\0\1"
_INDEX = b"\xfftOc\0\0\0\2"


def _pack(entry: bytes, index: bytes) -> bytes:
    pack = _PACK + entry + bytes(20)
    return struct.pack(">I", len(pack)) + pack + index


def _index(fanout: bytes, rest: bytes) -> bytes:
    return _INDEX + fanout + rest + bytes(40)


def _one(offset: int, large: bytes = b"") -> bytes:
    """Return an index with one object, whose id is all zeros, at an offset."""
    return _index(
        struct.pack(">256I", *[1] * 256), bytes(20) + bytes(4) + struct.pack(">I", offset) + large
    )


def _delta(base: bytes, delta: bytes) -> bytes:
    return struct.pack(">I", len(base)) + base + delta


_SOURCES = b'"excluded": {"SOURCES": "[{}]"}'
_DEFINITION = (
    b'{"format":1,"version":"1","arch":"target","arch_name":"x","chain":"c","after":["zlib:configure"],"from":[],'
    b'"needs":["gcc:populate_sysroot"],"direct":[],"staging":[],"task":{"dir":"","outputdir":[],"inputs":[],'
    b'"interpreter":"sh","hosttools":[],"network":false,"deploy":false},"export":[],"sysroot_owner":{},%s,'
    b'"programs":[],"sources":[],"patches":[]}'
)

FOUND: list[tuple[str, bytes]] = [
    ("odb.read, tree, commit", isal_zlib.compress(b"tree 1\0x")),
    ("odb.read, tree, commit", isal_zlib.compress(b"commit 8\0parent 0")),
    # libgit2 loops forever on a file truncated within its checksum
    ("odb.read, tree, commit", isal_zlib.compress(b"tag 3\0abc")[:-2]),
    ("attributes.read_listing (trees)", b'"'),
    ("recorded.read_task (tree of inputs)", b"\xe8"),
    ("record.Records (commit)", b"parent 0"),
    ("builds.BuildList (tree of tasks)", b"\xe8"),
    ("builds.BuildList (tree of tasks)", b"100644 \xff\0" + bytes(20)),
    # packs and indexes that contradict themselves
    ("packs.PackFile", _pack(b"", _one(1000))),
    ("packs.PackFile", _pack(b"\xbf\xff\xff\xff\xff\xff\xff\x7f" + bytes(5000), _one(12))),
    ("packs.PackFile", _pack(b"\x30" + isal_zlib.compress(b""), _one(0x80000000, b"\xff" * 8))),
    ("packs.PackFile", _pack(b"", _index(struct.pack(">256I", 9, *[0] * 255), b""))),
    ("packs.PackFile", _pack(b"", _index(bytes(1024), b""))),
    (
        "verify.salvage",
        _PACK + b"\xb0\x80\x80\x80\x04" + isal_zlib.compress(bytes(1 << 27)) + bytes(20),
    ),
    # a few bytes that expand to 1 GB of copies, and a number of 450,000 bits
    (
        "deltas.apply",
        _delta(bytes(60_000), b"\xe0\xd4\x03" + b"\x80\x80\x80\x80\x04" + b"\xb0\x60\xea" * 20_000),
    ),
    ("deltas.apply", _delta(b"", b"\x80" * 65_000)),
    ("refs.RefStore.get (loose)", b""),
    ("refs.RefStore.get (packed)", b"a b\n"),
    ("refs.RefStore.get (packed)", b"\xff\n"),
    ("address.git_dir_of", b"\xff"),
    ("address.git_dir_of", b"gitdir: \0"),
    ("address.parse_address", b"http://:secret@n"),
    (
        "dsse.load_signer",
        b"-----BEGIN PRIVATE KEY-----MC4CAQAwBQYDK2VwBCIEI"
        + b"A" * 43
        + b"-----END PRIVATE KEY-----",
    ),
    ("exclude.Exclude", b"[a-9]"),
    ("recorded.read_task, own_inputs, make_node", _DEFINITION % _SOURCES),
    ("recorded.read_task (texts of edges)", b"-"),
    ("recorded.read_task (texts of edges)", b"\xff"),
    # thousands of redirections of one command, and of unclosed `((`
    ("shell.names_in", b"a" + b" > x" * 5000),
    ("shell.names_in", b"cat" + b" <<E" * 2000 + b"\n" + b"E\n" * 2000),
    ("shell.names_in", b"((a) )\n" * 9000),
    # a few lines that expand to very many lines or stack frames
    (
        "variables.expand",
        b"".join(b"A%d ${A%d}${A%d}\n" % (n, n + 1, n + 1) for n in range(40)) + b"A40 x\n",
    ),
    (
        "variables.expand",
        b"".join(b"A%d ${A%d}${A%d}\n" % (n, n + 1, n + 1) for n in range(40)) + b"A40 \n",
    ),
    (
        "variables.expand",
        b"".join(b"A%d ${A%d}\n" % (n, n + 1) for n in range(2000)) + b"A2000 x\n",
    ),
    ("recipe (TOML)", b"a = " + b"9" * 5000),
    ("recipe (TOML)", b"a = " + b"[" * 5000),
    ("recipe (TOML)", b'version = "1"\n[tasks.a]\nscript_file = "' + b"a" * 5000 + b'"'),
    ("recipe (TOML)", b'version = "1"\npatches = ["' + b"a" * 5000 + b'"]'),
    ("project (TOML)", b'recipes = ["' + b"a" * 5000 + b'"]'),
    ("project (script_file)", b"\xff"),
    ("files.parse_size", b"9" * 400),
    ("bisect_log.Log.read", b"[" * 3000 + b"\n"),
    ("bisect_log.Log.read", b'{"question": {"good": 1, "bad": "", "name": "", "command": [2]}}\n'),
    ("signature.read_signature, write_inputs", b"[" * 3000),
    (
        "signature.read_signature, write_inputs",
        b'{"task": "t", "taskdeps": [], "varvals": {}, "file_checksum_values": [["'
        + b"a/" * 2000
        + b'x", null]]}',
    ),
    ("bitbake.build_record.read_hashes", b"\xff"),
    # no host, then text that looks like a user and password
    ("evidence.public_address", b"ssh://@//me:secret@host/x"),
    ("file_versions.blame_lines", b"a\n" * 30_000),
    ("builds.find_build", b"latest~" + b"9" * 5000),
]
