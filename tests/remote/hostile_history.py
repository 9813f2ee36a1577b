"""The faults of a WORKDIR published with a record, and of the texts: publications, definitions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prov.store.objects import EMPTY_TREE, MODE_FILE
from tests.remote.hostile import FILE, FOLDER, KEY, LINK, Maker, Row, signed_digest

AUTHOR = b"author prov <prov@localhost> 5 +0000\n"
COMMITTER = b"committer prov <prov@localhost> 5 +0000\n"
BY = AUTHOR + COMMITTER
HUGE = b"9" * 30
COMMITS = [
    *(
        b"",
        b"\n",
        b"\n\n",
        b"tree\n\nm\n",
        b"tree zz\n" + BY + b"\nm\n",
        b"TREE\n" + BY + b"\nm\n",
        b"\xff\xfe\0",
    ),
    *(
        BY + b"\nm\n",
        b"T" + b"\nm\n",
        b"TAUTHOR\n\nm\n",
        b"T" + AUTHOR + b"\nm\n",
        b"T" + BY,
        b"T" + COMMITTER + AUTHOR,
    ),
    *(
        b"Tparent \n" + BY + b"\nm\n",
        b"Tparent zz\n" + BY + b"\nm\n",
        b"Tparent " + b"0" * 40 + b"\n" + BY + b"\nm\n",
    ),
    *(
        b"Tparent \xff\n" + BY + b"\nm\n",
        b"TT" + BY + b"\nm\n",
        b"T" + BY + b"T\nm\n",
        b"T" + BY + b"parent x\n\nm\n",
    ),
    *(
        b"T" + BY + b"encoding \xff\n\nm\n",
        b"T" + BY + b"gpgsig x\n y\n\nm\n",
        b"T" + BY + b"\nm\0m\n",
        b"T" + BY + b"\n\xff\n",
    ),
    b"Tauthor prov <prov@localhost> "
    + HUGE
    + b" +0000\ncommitter prov <prov@localhost> "
    + HUGE
    + b" +0000\n\nm\n",
    b"Tauthor prov <prov@localhost> -5 +0000\ncommitter prov <prov@localhost> -5 +0000\n\nm\n",
    b"Tauthor x\ncommitter x\n\nm\n",
    b"Tauthor a<b <c> 5 +0000\ncommitter a<b <c> 5 +0000\n\nm\n",
    b"Tauthor a> <c> 5 +0000\ncommitter a> <c> 5 +0000\n\nm\n",
    b"Tauthor prov <prov@localhost> 5 +0100\ncommitter prov <prov@localhost> 5 +0100\n\nm\n",
    b"Tauthor prov <prov@localhost> 05 +0000\ncommitter prov <prov@localhost> 05 +0000\n\nm\n",
    b"Tauthor prov <prov@localhost> x +0000\ncommitter prov <prov@localhost> x +0000\n\nm\n",
    b"Tauthor \xff <prov@localhost> 5 +0000\ncommitter \xff <prov@localhost> 5 +0000\n\nm\n",
]


def _commits(maker: Maker) -> tuple[str, object]:
    """An invalid commit in the history of a WORKDIR."""
    text = maker.rng.choice(COMMITS)
    tree = maker.any_oid(FOLDER)
    data = text.replace(b"T", b"tree %s\n" % tree.hex().encode()) if b"TREE" not in text else text
    bad = maker.bag.add("commit", data)
    for _ in range(maker.rng.randrange(3)):
        bad = maker.bag.commit(maker.any_oid(FOLDER), bad)
    good = maker.with_run(maker.any_oid(FOLDER), None)
    commit = maker.bag.commit_object(good.workdir)
    where = maker.rng.choice(["start", "record", "tip"])
    parents = {"start": (bad, commit.parents[1]), "record": (commit.parents[0], bad), "tip": ()}[
        where
    ]
    tip = maker.bag.commit(commit.tree, *parents) if parents else bad
    task = replace(good, workdir=tip, workdir_digest=signed_digest(maker.bag, tip, "commit"))
    return f"commit {text[:30]!r} as {where}", task


def _endless(maker: Maker) -> tuple[str, object]:
    what = maker.rng.choice(["long", "wide", "doubling"])
    tree = maker.any_oid(FOLDER)
    last = maker.bag.commit(tree)
    if what == "long":
        for at in range(5000):
            last = maker.bag.commit(tree, last, message=f"{at}\n")
    elif what == "wide":
        last = maker.bag.commit(
            tree, *(maker.bag.commit(tree, message=f"{at}\n") for at in range(5000))
        )
    else:
        for at in range(1500):
            last = maker.bag.commit(tree, last, last, message=f"{at}\n")
    task = maker.record(maker.output())
    record = maker.bag.commit(maker.workdir_record(task))
    tip = maker.bag.commit(tree, last, record)
    return f"endless history: {what}", replace(
        task,
        workdir=tip,
        workdir_digest=signed_digest(maker.bag, tip, "commit") if what == "wide" else bytes(32),
    )


def _workdirs(maker: Maker) -> tuple[str, object]:
    bag = maker.bag
    fff = Row(FILE, b"fff", bag.file(b"f"))
    good = maker.with_run(bag.folder([fff]), None)
    what = maker.rng.choice(
        [
            "device",
            "other",
            "plain",
            "tree",
            "digest",
            "parents",
            "name",
            "missing",
            "sysroot",
            "start",
        ]
    )
    if what in ("device", "start"):
        line = maker.rng.choice(
            [
                b"nnn\ttype=char rdev=1:3\n",
                b"../x\ttype=fifo\n",
                b"fff\tlink=../../x\n",
                b"fff\tq=1\n",
            ]
        )
        attributes = bag.folder([Row(FILE, b"%attributes", bag.file(line))])
        task = maker.with_run(bag.folder([fff]), attributes)
        if what == "start":  # before the task instead of after it
            commit = bag.commit_object(good.workdir)
            tip = bag.commit(commit.tree, task.workdir, commit.parents[1])
            task = replace(good, workdir=tip, workdir_digest=signed_digest(bag, tip, "commit"))
        return f"WORKDIR with {line[:12]!r} as {what}", task
    if what == "other":
        other = maker.record(maker.output(), facts="task words:other\nresult ok\n")
        return "WORKDIR of another task", maker.with_run(bag.folder([fff]), None, of=other)
    if what == "sysroot":
        content = bag.folder([Row(FILE, b"content", fff.oid)])
        pair = bag.folder([Row(FOLDER, b"target", content)])
        task = maker.record(maker.output())
        record = bag.commit(maker.workdir_record(task, Row(FOLDER, b"sysroot", pair)))
        tip = bag.commit(maker.any_oid(FOLDER), bag.commit(EMPTY_TREE), record)
        return "WORKDIR's sysroot is a file", replace(
            task, workdir=tip, workdir_digest=signed_digest(bag, tip, "commit")
        )
    commit = bag.commit_object(good.workdir)
    ids = {
        "plain": bag.commit(commit.tree),
        "tree": commit.tree,
        "digest": good.workdir,
        "parents": bag.commit(
            commit.tree, *commit.parents, commit.parents[0], bag.commit(commit.tree)
        ),
        "name": bag.commit(bag.folder([Row(LINK, b".git", fff.oid)]), *commit.parents),
        "missing": bytes(20),
    }
    digest = bytes(32) if what == "digest" else signed_digest(bag, ids[what], "commit")
    return f"WORKDIR: {what}", replace(good, workdir=ids[what], workdir_digest=digest)


HISTORY: dict[str, Callable[[Maker], tuple[str, object]]] = {
    "commits": _commits,
    "endless": _endless,
    "workdirs": _workdirs,
}


# texts


def _line(rng: random.Random, **changed: str) -> str:
    fields = {
        "key": KEY,
        **{name: rng.randbytes(20).hex() for name in ("hash", "static", "output", "record")},
        "digest": rng.randbytes(32).hex(),
        "size": f"size={rng.randrange(10**6)}",
    }
    return "task " + " ".join((fields | changed).values()) + "\n"


BAD_FIELDS: list[dict[str, str]] = [
    *(
        {"key": key}
        for key in (
            "",
            ":",
            "a",
            "a:",
            ":a",
            "a:b:c",
            "../a:b",
            "a:..",
            "a:b/c",
            "-a:b",
            "a:-b",
            ".a:b",
        )
    ),
    *(
        {"key": key}
        for key in (
            "a..b:c",
            "a\nb:c",
            "a\0:b",
            "é:b",
            "x" * 300 + ":b",
            "a.lock:b",
            "a:b.lock",
            "~:b",
        )
    ),
    *(
        {"hash": oid}
        for oid in (
            "",
            "0",
            "0" * 39,
            "0" * 41,
            "G" * 40,
            "A" * 40,
            "-" + "0" * 39,
            "0" * 39 + "\u0661",
        )
    ),
    *({"digest": oid} for oid in ("", "0" * 40, "0" * 66, "x" * 64)),
    *(
        {"size": size}
        for size in (
            "size=",
            "size=-1",
            "size=1_0",
            "size=+1",
            "size=" + "9" * 5000,
            "size=\u0661",
            "size=0x1",
        )
    ),
    *(
        {"size": size}
        for size in (
            "size=01",
            "size=1 size=1",
            "size=1 size=2",
            "size",
            "SIZE=1",
            "size=1=2",
            "=1",
            "what=1",
        )
    ),
    *(
        {"more": more}
        for more in (
            "place=",
            "place=/etc",
            "place=" + "a" * 41,
            "place=../..",
            "place=x",
            "colour=red",
            "",
        )
    ),
    *(
        {"more": more}
        for more in (
            "workdir=",
            "workdir=:",
            "workdir=" + "0" * 40,
            "workdir=" + "0" * 40 + ":" + "0" * 63,
        )
    ),
    *(
        {"more": more}
        for more in (
            "workdir=../..:" + "0" * 64,
            "workdir=" + "0" * 40 + ":" + "0" * 64 + ":x",
            "x=1 " * 9999,
        )
    ),
]
BAD_HEADS = [
    *(
        "",
        "prov publication 2\ntime 1\n",
        "prov publication 1\n",
        "prov publication 1",
        "time 1\n",
        "\n\n\n",
    ),
    *(
        "prov publication 1\ntime \n",
        "prov publication 1\ntime x\n",
        "prov publication 1\ntime -1\n",
    ),
    *(
        "prov publication 1\ntime 1 \n",
        "prov publication 1\ntime 1_0\n",
        "prov publication 1\ntime +1\n",
    ),
    *("prov publication 1\ntime " + "9" * 5000 + "\n", "prov publication 1\ntime 99999999999999\n"),
    *(
        "prov publication 1\ntime 01\n",
        "prov publication 1\r\ntime 1\r\n",
        " prov publication 1\ntime 1\n",
    ),
]
BAD_TAILS = [
    "used\n",
    "used \n",
    "used x\n",
    "used " + "0" * 41 + "\n",
    "\n",
    "what\n",
    "task\n",
    "task \n",
    "used 0",
    "é\n",
    "\0\n",
]
BAD_TAILS += ["used " + "0" * 40 + "\n" + "task x\n", "used " + "0" * 40 + " \n", "Task a:b\n"]


def publication_text(rng: random.Random) -> bytes:
    """Return a publication with a fault."""
    head, lines = "prov publication 1\ntime 1\n", [_line(rng) for _ in range(rng.randrange(3))]
    what = rng.choice(["field", "field", "head", "tail", "order", "noise", "cut"])
    tail = ""
    if what == "field":
        lines.insert(rng.randrange(len(lines) + 1), _line(rng, **rng.choice(BAD_FIELDS)))
    elif what == "head":
        head = rng.choice(BAD_HEADS)
    elif what == "tail":
        tail = rng.choice(BAD_TAILS)
    elif what == "order":
        tail = "used " + "0" * 40 + "\n" + _line(rng)
    elif what == "noise":
        return rng.randbytes(rng.randrange(200))
    else:
        return (head + _line(rng))[: -rng.randrange(1, 60)].encode()
    return (head + "".join(lines) + tail).encode("utf-8", "surrogatepass")


DEFINITION: dict[str, Any] = {
    "format": 1,
    "version": "1",
    "arch": "target",
    "arch_name": "x86_64",
    "chain": "make",
    "after": ["words:take"],
    "from": [],
    "needs": [],
    "direct": [],
    "staging": [],
    "task": {
        "dir": "",
        "outputdir": ["image"],
        "inputs": [],
        "interpreter": "sh",
        "hosttools": [],
        "network": False,
        "deploy": False,
    },
    "export": [],
    "sysroot_owner": {},
    "excluded": {},
    "programs": [["sh", "/bin/sh"]],
    "sources": [["words", 0o40755, "0" * 40, ""]],
    "patches": [],
}
BAD_VALUES: list[Any] = [
    *(
        None,
        0,
        -1,
        2**70,
        1.5,
        1e308,
        True,
        "",
        "..",
        ".",
        "a/b",
        "/etc",
        "a\0b",
        "\ud800",
        "x" * 5000,
        "é",
        "\n",
        "-rf",
    ),
    *(
        [],
        [[]],
        [None],
        [1],
        ["a", "/b"],
        ["..", "/b"],
        ["a\0", "/b"],
        ["a", "b"],
        ["a", "/b\0"],
        {},
        {"a": 1},
        {"..": "x"},
    ),
    *(
        ["a"] * 4,
        ["a", 2**70, "0" * 40, ""],
        ["a", "x", "0" * 40, ""],
        ["a", MODE_FILE, "zz", ""],
        ["a", 0o20666, "0" * 40, ""],
    ),
    *(
        ["a", MODE_FILE, "0" * 39, ""],
        ["\ud800", MODE_FILE, "0" * 40, ""],
        ["a", 0o40755, "0" * 40, "x"],
        ["a", -1, "0" * 40, ""],
    ),
    *(
        ["a", 1e300, "0" * 40, ""],
        ["a", True, "0" * 40, ""],
        ["a", MODE_FILE, 5, ""],
        [["a", "/b"], ["\ud800", "/b"]],
    ),
]


def definition_text(rng: random.Random) -> bytes:
    """Return a definition that may have a fault."""
    table = json.loads(json.dumps(DEFINITION))
    what = rng.choice(["field", "field", "item", "task", "missing", "text", "deep"])
    name = rng.choice(sorted(table))
    if what == "field":
        table[name] = rng.choice(BAD_VALUES)
    elif what == "item":
        if isinstance(table[name], list):
            table[name] = [rng.choice(BAD_VALUES)]
        else:
            table[rng.choice(["sources", "programs", "patches", "needs"])] = [
                rng.choice(BAD_VALUES)
            ]
    elif what == "task":
        table["task"][rng.choice(sorted(table["task"]))] = rng.choice(BAD_VALUES)
    elif what == "missing":
        del table[name]
    elif what == "deep":
        return b"[" * rng.choice([100, 5000, 200_000])
    else:
        return rng.choice(
            [b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff", b"9" * 9999, b"NaN", b'{"format":1}']
        )
    return json.dumps(table).encode()
