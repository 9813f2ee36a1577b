"""The faults of a record: one function per family, by name in `FAMILIES`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from prov.errors import StoreError
from prov.intake.source import Content
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import EMPTY_TREE, Oid
from tests.remote.hostile import (
    FILE,
    FOLDER,
    LINK,
    PROGRAM,
    TARGETS_IN_USE,
    Bag,
    Case,
    Maker,
    Row,
    signed_digest,
)
from tests.remote.hostile_history import HISTORY
from tests.remote.hostile_words import FACTS, HARMLESS_NAMES, LINES, MODES, NAMES, OUTSIDE, TARGETS


def _names(maker: Maker) -> tuple[str, object]:
    name, kind = maker.rng.choice(NAMES), maker.rng.choice([FILE, PROGRAM, LINK, FOLDER])
    return f"{name[:20]!r} as {kind.decode()}", maker.of_content(
        maker.with_row(Row(kind, name, maker.any_oid(kind)))
    )


def _harmless(maker: Maker) -> tuple[str, object]:
    name, kind = maker.rng.choice(HARMLESS_NAMES), maker.rng.choice([FILE, PROGRAM, LINK, FOLDER])
    tree = maker.with_row(
        Row(kind, name, maker.bag.file(b"there") if kind == LINK else maker.any_oid(kind))
    )
    return f"harmless {name[:20]!r}", maker.record(maker.output(tree))


def _modes(maker: Maker) -> tuple[str, object]:
    mode, kind = maker.rng.choice(MODES), maker.rng.choice([FILE, FOLDER])
    return f"mode {mode[:12]!r}", maker.of_content(
        maker.with_row(Row(mode, b"mmm", maker.any_oid(kind)))
    )


def _kinds(maker: Maker) -> tuple[str, object]:
    """A mode and an object of a different kind, which may also occur in its valid place."""
    mode, other = maker.rng.choice(
        [(FOLDER, FILE), (FILE, FOLDER), (LINK, FOLDER), (PROGRAM, FOLDER), (FILE, b"c")]
    )
    if other == b"c":
        oid = maker.bag.commit(EMPTY_TREE)
        mode = maker.rng.choice([FILE, FOLDER, LINK])
        before = []
    else:
        oid = maker.any_oid(other)
        before = [Row(other, b"aaa", oid)] if maker.rng.random() < 0.7 else []
    tree = maker.with_row(*before, Row(mode, b"zzz", oid))
    if maker.rng.random() < 0.2:
        return "record folder of another kind", maker.record(
            maker.output(), None, Row(mode, b"definition", oid)
        )
    return f"{mode.decode()} of a different kind", maker.of_content(tree)


def _duplicates(maker: Maker) -> tuple[str, object]:
    one, two = (
        maker.rng.choice([FILE, LINK, FOLDER]),
        maker.rng.choice([FILE, LINK, FOLDER, PROGRAM]),
    )
    name, other = maker.rng.choice(
        [(b"same", b"same"), (b"a", b"%a"), (b"%.git", b"%%.git"), (b"a", b"%a")]
    )
    if name == b"%.git":
        other = b"%.git"
    return f"duplicate {name!r} {other!r}", maker.of_content(
        maker.with_row(Row(one, name, maker.any_oid(one)), Row(two, other, maker.any_oid(two)))
    )


def _order(maker: Maker) -> tuple[str, object]:
    rows = [Row(FILE, name, maker.any_oid(FILE)) for name in (b"m", b"n.x", b"o", b"p0")]
    rows.append(Row(FOLDER, b"n", maker.any_oid(FOLDER)))
    ordered = sorted(rows, key=lambda row: row.place)
    while sorted(rows, key=lambda row: row.place) == rows or rows == ordered:
        maker.rng.shuffle(rows)
    return "wrong order", maker.of_content(maker.bury(maker.bag.unsorted(rows)))


def _damaged(maker: Maker) -> tuple[str, object]:
    tree = maker.bag.folder(
        [
            *maker.rows(),
            Row(FILE, b"qqq", maker.any_oid(FILE)),
            Row(FILE, b"r", maker.any_oid(FILE)),
        ]
    )
    data = bytearray(maker.bag.objects[tree][1])
    what = maker.rng.choice(["cut", "flip", "noise", "append", "insert"])
    at = maker.rng.randrange(1, len(data))
    if what == "cut":
        del data[at:]
    elif what == "flip":
        data[at] ^= 1 << maker.rng.randrange(8)
    elif what == "append":
        data += maker.rng.randbytes(maker.rng.randrange(1, 40))
    elif what == "insert":
        data[at:at] = maker.rng.randbytes(maker.rng.randrange(1, 9))
    else:
        data = bytearray(maker.rng.randbytes(len(data)))
    return f"tree {what}", (maker.of_content(maker.bury(maker.bag.add("tree", bytes(data)))), None)


def _targets(maker: Maker) -> tuple[str, object]:
    target = maker.rng.choice(TARGETS)
    return f"symlink to {target[:9]!r}", maker.of_content(
        maker.with_row(Row(LINK, b"sss", maker.bag.file(target)))
    )


def _outside(maker: Maker) -> tuple[str, object]:
    """A symlink that leads outside is allowed, a file below it is not."""
    link = Row(LINK, b"sss", maker.bag.file(maker.rng.choice(OUTSIDE)))
    if maker.rng.random() < 0.3:
        return "symlink outside", (maker.record(maker.output(maker.with_row(link))), False)
    below = maker.bag.folder([Row(FILE, b"canary", maker.any_oid(FILE))])
    if maker.rng.random() < 0.4:  # by the attributes: a folder where the content has a symlink
        attributes = maker.bag.folder(
            [Row(FOLDER, b"sss", maker.bag.folder([Row(FOLDER, b"made", EMPTY_TREE)]))]
        )
        return "folder in the attributes below a symlink", maker.record(
            maker.output(maker.bag.folder([link]), attributes)
        )
    return "file below a symlink", maker.of_content(
        maker.with_row(link, Row(FOLDER, b"sss", below))
    )


def _attributes(maker: Maker) -> tuple[str, object]:
    line = maker.rng.choice(LINES)
    text = line + maker.rng.choice([b"\n", b"\n", b"", b"\n\n"])
    if maker.rng.random() < 0.2:
        text = b".\tmode=0700\n" + text
    return f"attributes {line[:30]!r}", maker.of_attributes(text)


def _noise(maker: Maker) -> tuple[str, object]:
    return "attributes of noise", maker.of_attributes(
        maker.rng.randbytes(maker.rng.randrange(1, 200))
    )


def _attribute_trees(maker: Maker) -> tuple[str, object]:
    bag, line = maker.bag, maker.bag.file(b".\tmode=0700\n")
    what = maker.rng.choice(
        ["tree", "program", "link", "content", "file", "over file", "unknown", "program below"]
    )
    if what == "content":
        content = maker.with_row(Row(FILE, b"%attributes", line), Row(FILE, b"attributes", line))
        return "%attributes in the content", maker.record(maker.output(content))
    rows = {
        "tree": Row(FOLDER, b"%attributes", maker.any_oid(FOLDER)),
        "program": Row(PROGRAM, b"%attributes", line),
        "link": Row(LINK, b"%attributes", line),
        "file": Row(FILE, b"ddd", line),
        "over file": Row(FOLDER, b"fff", EMPTY_TREE),
        "unknown": Row(FILE, b"xxx", line),
        "program below": Row(FOLDER, b"eee", bag.folder([Row(PROGRAM, b"%attributes", line)])),
    }
    content = bag.folder([Row(FILE, b"fff", line), Row(FOLDER, b"ddd", maker.any_oid(FOLDER))])
    attributes = bag.folder([rows[what]])
    if maker.rng.random() < 0.5:
        content, attributes = (
            bag.folder([Row(FOLDER, b"u", content)]),
            bag.folder([Row(FOLDER, b"u", attributes)]),
        )
    return f"attributes: {what}", maker.record(maker.output(content, attributes))


def _bombs(maker: Maker) -> tuple[str, object]:
    bag = maker.bag
    what = maker.rng.choice(["wide", "deep", "double", "both", "path", "many", "attributes"])
    tree = maker.any_oid(FOLDER)
    if what == "attributes":
        tree = EMPTY_TREE
        for _ in range(maker.rng.randrange(24, 200)):
            tree = bag.folder([Row(FOLDER, b"a", tree), Row(FOLDER, b"b", tree)])
        return "bomb of empty folders", maker.record(maker.output(None, tree))
    if what == "double":
        for _ in range(maker.rng.randrange(24, 250)):
            tree = bag.folder([Row(FOLDER, b"a", tree), Row(FOLDER, b"b", tree)])
    elif what == "wide":
        for _ in range(maker.rng.randrange(3, 30)):
            tree = bag.folder([Row(FOLDER, b"x%03d" % at, tree) for at in range(300)])
    elif what == "deep":
        for _ in range(maker.rng.choice([257, 300, 1000, 5000])):
            tree = bag.folder([Row(FOLDER, b"d", tree)])
    elif what == "path":
        for _ in range(maker.rng.randrange(17, 40)):
            tree = bag.folder([Row(FOLDER, b"p" * 250, tree)])
    elif what == "both":
        for _ in range(200):
            tree = bag.folder([Row(FOLDER, b"y%02d" % at, tree) for at in range(30)])
    else:
        tree = bag.folder([Row(FILE, b"f%04d" % at, bag.file(b"x" * 999)) for at in range(999)])
        for _ in range(5):
            tree = bag.folder([Row(FOLDER, b"m%03d" % at, tree) for at in range(99)])
    return f"bomb {what}", maker.of_content(tree)


def _lies(maker: Maker) -> tuple[str, object]:
    """Objects that do not match their ids or cannot be read."""
    task = maker.record(maker.output())
    victim = maker.rng.choice(sorted(maker.bag.objects.keys() - {task.task_hash}))
    kind, data = maker.bag.objects[victim]
    what = maker.rng.choice(["other", "cut", "missing", "kind", "broken"])
    held = [task.record, *_below(maker.bag, task.record)]
    if victim not in held or data in TARGETS_IN_USE:
        victim = task.record
        kind, data = maker.bag.objects[victim]
    if what == "missing":
        del maker.bag.objects[victim]
    elif what == "broken":

        def source(oid: Oid) -> Content | None:
            if oid == victim:
                raise StoreError("the pack is damaged")
            return maker.bag.source(oid)

        return "an object can't be read", (task, True, source)
    else:
        lie = {"other": (kind, data + b"x"), "cut": (kind, data[:-1]), "kind": ("commit", data)}[
            what
        ]
        maker.bag.objects[victim] = lie
    return f"an object is {what}", task


def _below(bag: Bag, tree: Oid) -> Iterator[Oid]:
    for entry in bag.tree(tree):
        yield entry.oid
        if b"%o" % entry.mode == FOLDER:
            yield from _below(bag, entry.oid)


def _records(maker: Maker) -> tuple[str, object]:
    bag, output, inputs = maker.bag, maker.output(), maker.inputs()
    what = maker.rng.choice(["facts", "facts", "parts", "signed", "output"])
    if what == "facts":
        facts = maker.rng.choice(FACTS)
        return f"facts {facts[:20]!r}", maker.record(
            output, inputs, facts=facts.replace("{inputs}", inputs.hex())
        )
    good = maker.record(output, inputs)
    if what == "signed":
        task = maker.rng.choice(
            [
                replace(good, key=TaskKey("words:other")),
                replace(good, task_hash=TaskHash(maker.inputs())),
                replace(good, output=OutputId(maker.output())),
                replace(good, digest=bytes(32)),
                replace(good, record=output, digest=signed_digest(bag, output)),
                replace(good, record=maker.any_oid(FILE)),
                replace(good, record=EMPTY_TREE, digest=signed_digest(bag, EMPTY_TREE)),
                replace(good, record=bytes(20)),
            ]
        )
        return "not what was signed", task
    if what == "output":
        content, blob = maker.any_oid(FOLDER), maker.any_oid(FILE)
        rows = maker.rng.choice(
            [
                [Row(FILE, b"content", blob)],
                [Row(LINK, b"content", maker.bag.file(b"/etc"))],
                [Row(FOLDER, b"content", content), Row(FILE, b"attributes", blob)],
                [Row(FOLDER, b"content", content), Row(FOLDER, b"postprocess", content)],
                [
                    Row(FOLDER, b"content", content),
                    Row(LINK, b"postprocess", maker.bag.file(b"/bin/sh")),
                ],
                [Row(FOLDER, b"content", content), Row(FOLDER, b"fixed", content)],
                [Row(FOLDER, b"content", content), Row(FILE, b"more", blob)],
            ]
        )
        return "parts of the output", maker.record(bag.folder(rows), inputs)
    parts = {row.name: Row(b"%o" % row.mode, row.name, row.oid) for row in bag.tree(good.record)}
    name = maker.rng.choice(sorted(parts))
    if maker.rng.random() < 0.4:
        del parts[name]
    else:
        kind = maker.rng.choice([FILE, FOLDER, LINK])
        if kind == parts[name].mode:
            kind = FOLDER if kind == FILE else FILE
        parts[name] = Row(kind, name, maker.any_oid(kind))
    return f"part {name!r} of the record", maker.signed(
        bag.folder(list(parts.values())), inputs, output
    )


FAMILIES: dict[str, Callable[[Maker], tuple[str, object]]] = {
    "names": _names,
    "harmless": _harmless,
    "modes": _modes,
    "kinds": _kinds,
    "duplicates": _duplicates,
    "order": _order,
    "damaged": _damaged,
    "targets": _targets,
    "outside": _outside,
    "attributes": _attributes,
    "noise": _noise,
    "attribute trees": _attribute_trees,
    "bombs": _bombs,
    "lies": _lies,
    "records": _records,
    **HISTORY,
}
RARE = ("bombs", "endless")
"""These families take longer to generate than to reject."""


def cases(count: int, seed: int) -> Iterator[Case]:
    """Yield `count` cases, from each family in turn."""
    names = [name for name in FAMILIES for _ in range(1 if name in RARE else 8)]
    for number in range(count):
        maker = Maker(random.Random(f"{seed} {number}"))
        family = names[number % len(names)]
        name, made = FAMILIES[family](maker)
        task, refused, source = (
            (*made, None)[:3] if isinstance(made, tuple) else (made, family != "harmless", None)
        )
        yield Case(f"{number}: {family}: {name}", maker.bag, task, refused, source)
