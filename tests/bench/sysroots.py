"""Rows of `prov compose` with Debian's development packages: 142 packages, 24,200 entries."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench.data import dev_packages, empty, need, remove, write_texts
from tests.bench.measure import Command
from tests.bench.rows import PROV, Row

TEXTS = 1000
SMALL = 200
"""The maximum number of files of the replaced package."""


def sysroot_rows(data: Path) -> Sequence[Row]:
    need("ostree", "ostree")
    folders, scratch = dev_packages(data), empty(data / "sysroots")
    store = scratch / "store"
    names = [_capture(store, folder) for folder in folders]
    return [
        *_compose(scratch, store, folders, names),
        _replace(scratch, store, folders, names),
        _relocate(scratch),
    ]


def _prov(*words: str | Path) -> None:
    subprocess.run([PROV, *words], check=True, capture_output=True)


def _capture(store: Path, folder: Path, suffix: str = "") -> str:
    recipe = folder.name.replace("+", "x").replace(".", "-")
    name = f"{recipe}{suffix}:package"
    _prov("--store", store, "capture", folder, "--as", name)
    return name


def _compose(scratch: Path, store: Path, folders: list[Path], names: list[str]) -> list[Row]:
    root, listed = scratch / "root", scratch / "ostree.list"
    words: tuple[str | Path, ...] = (PROV, "--store", store, "compose", root, *names)

    def forget(*, pool: bool = False) -> None:
        remove(root, *((store / "prov").glob("pool*") if pool else ()))

    repository = f"--repo={scratch / 'ostree'}"
    subprocess.run(["ostree", repository, "init", "--mode=bare-user-only"], check=True)
    # a package name can contain a +, a branch cannot
    for number, folder in enumerate(folders):
        options = ["--no-xattrs", "--canonical-permissions", f"--branch=package/{number}"]
        subprocess.run(
            ["ostree", repository, "commit", *options, f"--tree=dir={folder}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    listed.write_text("".join(f"package/{number}\0/\0" for number in range(len(folders))))
    out = scratch / "ostree.out"
    ostree = Command(
        "ostree checkout -H --union",
        ("ostree", repository, "checkout", "-H", "--union", f"--from-file={listed}", out),
        prepare=lambda: remove(out),
    )
    links = scratch / "links"
    script = f"mkdir {links} && for each in {folders[0].parent}/*; do cp -al $each/. {links}/; done"
    copy = Command("cp -al of each package", ("sh", "-c", script), prepare=lambda: remove(links))
    return [
        Row(
            "sysroot: compose, pool filled",
            Command("prov compose", words, prepare=lambda: forget(pool=True)),
            (ostree, copy),
            at_most=2.0,
        ),
        Row(
            "sysroot: compose, pool warm",
            Command("prov compose", words, prepare=forget),
            (ostree, copy),
            at_most=0.8,
        ),
        Row("sysroot: compose again", Command("prov compose", words), (ostree,), seconds=0.25),
    ]


def _replace(scratch: Path, store: Path, folders: list[Path], names: list[str]) -> Row:
    """Replace a package by a version of which a third of the files differ, and back."""
    counts = {folder: sum(1 for path in folder.rglob("*") if path.is_file()) for folder in folders}
    small = max((folder for folder in folders if counts[folder] <= SMALL), key=counts.__getitem__)
    other = scratch / "rebuilt" / small.name
    shutil.copytree(small, other, symlinks=True)
    files = sorted(path for path in other.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files[::3]:
        path.write_bytes(path.read_bytes() + b"\n// rebuilt\n")
    old = names[folders.index(small)]
    new = _capture(store, other, "-rebuilt")
    root = scratch / "replaced"
    choices = itertools.cycle(["new", "old"])
    request = scratch / "names"

    def choose() -> None:
        chosen = new if next(choices) == "new" else old
        request.write_text("\n".join(chosen if name == old else name for name in names))

    script = f"xargs {PROV} --store {store} compose {root} < {request}"
    return Row(
        "sysroot: one package of 142 replaced",
        Command("prov compose", ("sh", "-c", script), prepare=choose),
        seconds=0.25,
    )


def _relocate(scratch: Path) -> Row:
    """Stage the texts of a package, which name its prefix, in the sysroot of a task."""
    project, copied = scratch / "relocated", scratch / "copied"
    (empty(project) / "recipes").mkdir()
    texts = write_texts(project / "recipes" / "texts" / "files", Path("/prefix"), TEXTS)
    settings = 'sandbox = "none"\n[variables]\nHOSTTOOLS = "sh cp mkdir sed"\n'
    (project / "prov.toml").write_text(settings)
    (project / "recipes" / "texts" / "texts.toml").write_text(
        'version = "1"\ninherit = ["package"]\nsources = [{ file = "files" }]\n'
        '[variables]\nS = "${WORKDIR}/files"\n[tasks.install]\n'
        "script = 'mkdir -p $D && cp -r $S $D && sed -i \"s,/prefix,$RECIPE_SYSROOT,\" $D/*/*.la'\n"
    )
    _prov("-C", project, "build", "texts:install")
    root = scratch / "texts-root"
    return Row(
        "sysroot: 1,000 texts relocated",
        Command(
            "prov compose",
            (PROV, "-C", project, "compose", root, "texts:install"),
            prepare=lambda: remove(root),
        ),
        (Command("cp -r", ("cp", "-r", texts, copied), prepare=lambda: remove(copied)),),
        at_most=1.5,
    )
