"""The data of the benchmark, made once below its folder: sources, packages, projects."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

TARBALL = Path("/usr/src/linux-source-6.1.tar.xz")


def remove(*paths: Path) -> None:
    """Delete files and directories that may be missing."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            subprocess.run(["rm", "-rf", path], check=True)
        else:
            path.unlink(missing_ok=True)


def empty(path: Path) -> Path:
    """Return a new empty directory at a path."""
    remove(path)
    path.mkdir(parents=True)
    return path


def need(program: str, package: str) -> str:
    """Return the path of a program. Exits with the package to install if it is missing."""
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is missing: run `apt-get install {package}`")
    return path


def linux_source(data: Path) -> Path:
    """Return the source of Linux, unpacked from Debian's package."""
    folder = data / "linux"
    if not folder.is_dir():
        if not TARBALL.exists():
            sys.exit(f"{TARBALL} is missing: run `apt-get install linux-source-6.1`")
        half = empty(data / "linux.half")
        subprocess.run(["tar", "-C", half, "--strip-components=1", "-xf", TARBALL], check=True)
        half.rename(folder)
    return folder


def dev_packages(data: Path) -> list[Path]:
    """Return Debian's development packages, a directory each."""
    folder = data / "dev-packages"
    subprocess.run([Path(__file__).with_name("get-dev-packages"), folder], check=True)
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def wide_project(project: Path, recipes: int) -> Path:
    """Return a project of recipes with ten trivial tasks each, in chains of ten recipes."""
    (empty(project) / "recipes").mkdir()
    (project / "prov.toml").write_text('sandbox = "none"\n[variables]\nHOSTTOOLS = "sh cp"\n')
    for number in range(recipes):
        tasks = []
        for step in range(9):
            after = f'after = ["t{step - 1}"]\n' if step else ""
            tasks.append(f"[tasks.t{step}]\n{after}script = 'echo $VALUE > f{step}'\n")
        needs = f'needs = ["r{number - 1:05}:give"]\n' if number % 10 else ""
        tasks.append(
            f'[tasks.give]\nafter = ["t8"]\n{needs}outputdir = "give"\n'
            f'script = "cp f8 give/r{number}"\n'
        )
        head = f'version = "1"\nbuild = ["give"]\n[variables]\nVALUE = "{number}"\n'
        (project / "recipes" / f"r{number:05}.toml").write_text(head + "".join(tasks))
    return project


def wide_makefile(folder: Path, chains: int) -> Path:
    """Return a directory with a Makefile of the same tasks as `wide_project` has."""
    rules, last = [], []
    for number in range(chains):
        for step in range(10):
            before = f"{number}/f{step - 1}" if step else ""
            rules.append(
                f"{number}/f{step}: {before}\n\t@mkdir -p {number} && echo {number} > $@\n"
            )
        last.append(f"{number}/f9")
    (empty(folder) / "Makefile").write_text(f"all: {' '.join(last)}\n" + "".join(rules))
    return folder


def write_texts(folder: Path, prefix: Path, count: int) -> Path:
    """Return a directory with the libtool files of many libraries, which name a prefix."""
    empty(folder)
    for number in range(count):
        rows = [f"libdir='{prefix}/usr/lib{number}'", f"dependency_libs=' -L{prefix}/usr/lib -lz'"]
        rows += [f"# {row} of {number}: nothing that names a place" for row in range(30)]
        rows += [f"prefix={prefix}/usr", ""]
        (folder / f"lib{number}.la").write_text("\n".join(rows))
    return folder


def buildstream(data: Path) -> Path:
    """Return the program bst, installed from PyPI into an environment of its own."""
    program = data / "buildstream" / "bin" / "bst"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", program.parents[1]], check=True)
        pip: list[str | Path] = [program.with_name("pip"), "install", "-q", "BuildStream"]
        subprocess.run(pip, check=True)
    return program


def wide_elements(folder: Path, chains: int) -> Path:
    """Return a BuildStream project of the same tasks as `wide_project` has, one an element."""
    tools, elements = folder / "files" / "bin", folder / "elements"
    remove(folder)
    tools.mkdir(parents=True)
    elements.mkdir()
    shutil.copy(need("busybox", "busybox-static"), tools / "busybox")
    (tools / "sh").symlink_to("busybox")
    head = "name: trivial\nmin-version: 2.0\nelement-path: elements\n"
    (folder / "project.conf").write_text(head)
    base = "kind: import\nsources:\n- kind: local\n  path: files\n"
    (elements / "base.bst").write_text(base)
    for number in range(chains):
        before = "base.bst"
        for step in range(10):
            text = f"kind: manual\nbuild-depends:\n- base.bst\n- {before}\nconfig:\n"
            text = text.replace("- base.bst\n- base.bst\n", "- base.bst\n")
            copy = f'/bin/busybox cp f "%{{install-root}}/f{number}-{step}"'
            rows = [f"echo {number} > f", '/bin/busybox mkdir -p "%{install-root}"', copy]
            commands = "".join(f"  - {row}\n" for row in rows)
            before = f"e{number}-{step}.bst"
            (elements / before).write_text(f"{text}  install-commands:\n{commands}")
    last = "".join(f"- e{number}-9.bst\n" for number in range(chains))
    (elements / "all.bst").write_text(f"kind: stack\ndepends:\n{last}")
    return folder
