"""Tests of unpacking and patching odd sources: names, submodules, leftovers of git, ACLs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from prov.files import drop_default_acl
from tests.cli.story import Project

pytestmark = pytest.mark.process

PATCH = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-old\n+new\n"
SUBMODULE = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, name: str = "file.c") -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / name).write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def archive(path: Path, names: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, text in names.items():
                packed.writestr(name, text)
        return
    top = path.with_name("top")
    for name, text in names.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    with tarfile.open(path, "w:gz") as packed:
        for entry in sorted(top.iterdir()):
            packed.add(entry, entry.name)
    shutil.rmtree(top)


def recipe(project: Project, sources: str, more: str = "") -> None:
    project.write("recipes/x.toml", f"version = '1'\nsources = [{sources}]\n{more}")


def unpacked(project: Project, name: str) -> Path:
    (found,) = (project.root / "build/work").glob(f"*/x/unpack/{name}")
    return found


ARCHIVES = [
    "lib-1:2.0.tar.gz",
    "-lib.tar.gz",
    "--to-command=x.tar.gz",
    "lib 1 'x'.tar.gz",
    ".lib.tar.gz",
    "-l.zip",
]
FILES = ["-notes.txt", "--help", "..notes", ".hidden", "a:b", "* [x]"]


def test_archives_and_files_with_odd_names(small: Project) -> None:
    for number, name in enumerate(ARCHIVES):
        archive(small.root / "recipes" / name, {f"lib{number}/a": f"{number}\n"})
    for name in FILES:
        small.write(f"recipes/{name}", f"{name}\n")
    recipe(small, ", ".join(f'{{ file = "{name}" }}' for name in [*ARCHIVES, *FILES]))
    small.prov("build", "x:unpack")
    for number, _ in enumerate(ARCHIVES):
        assert unpacked(small, f"lib{number}/a").read_text() == f"{number}\n"
    top = {path.name: path for path in unpacked(small, "").iterdir()}
    assert [top[name].read_text() for name in FILES] == [f"{name}\n" for name in FILES]


OWN = ["temp", "recipe-sysroot", "recipe-sysroot-native", "sources", "patches"]


def test_names_of_provs_own_folders(small: Project) -> None:
    for name in OWN:
        small.write(f"recipes/{name}/main.c", "int main;\n")
        recipe(small, f'{{ file = "{name}" }}')
        assert f"the name '{name}' is reserved by prov" in small.refused("plan", "x:unpack")
    recipe(small, ", ".join(f'{{ file = "{name}", name = "{name}-own" }}' for name in OWN))
    small.prov("build", "x:unpack")
    assert all(unpacked(small, f"{name}-own/main.c").is_file() for name in OWN)
    for name in OWN:
        for kind in ("tar.gz", "zip"):
            archive(small.root / f"recipes/lib.{kind}", {f"{name}/a": "1\n"})
            recipe(small, f'{{ file = "lib.{kind}" }}')
            said = small.prov("build", "x:unpack", code=1).stdout
            assert f"lib.{kind} holds {name}/, a folder that prov has in every WORKDIR" in said
    archive(
        small.root / "recipes/lib.tar.gz",
        {f"b/{name}/a": "2\n" for name in OWN} | {"temporary/a": "1\n"},
    )
    recipe(small, '{ file = "lib.tar.gz" }')
    small.prov("build", "x:unpack")
    assert unpacked(small, "b/temp/a").read_text() == "2\n"


def test_outputs_in_provs_own_folders(small: Project) -> None:
    for name in ("temp", "temp/a", "recipe-sysroot", "${WORKDIR}/recipe-sysroot-native/x"):
        small.write(
            "recipes/x.toml", f"version = '1'\n[tasks.go]\noutputdir = '{name}'\nscript = 'true'\n"
        )
        assert "is reserved by prov" in small.refused("plan", "x:go")


def test_inputs_never_replace_files(small: Project) -> None:
    small.write("recipes/a.patch", PATCH)
    go = "[tasks.go]\noutputdir = 'patches'\nscript = 'echo 1 > patches/mine'\n"
    use = "[tasks.use]\nafter = ['go']\ninputs = ['patches']\nscript = 'true'\n"
    small.write("recipes/x.toml", f"version = '1'\npatches = ['a.patch']\n{go}{use}")
    said = small.ask("build", "x:use", code=1)
    assert "x:use: cannot copy patches to" in said and "an earlier task wrote mine" in said


def test_a_git_file_with_a_missing_target(small: Project) -> None:
    archive(
        small.root / "recipes/lib.tar.gz",
        {"lib/a": "old\n", "lib/.git": "gitdir: ../.git/modules/lib\n"},
    )
    small.write("recipes/a.patch", PATCH)
    recipe(
        small,
        '{ file = "lib.tar.gz" }',
        'patches = ["a.patch"]\n[variables]\nS = "${WORKDIR}/lib"\n',
    )
    small.prov("build", "x:patch")
    assert unpacked(small, "lib/a").read_text() == "new\n"


def test_submodules(small: Project, tmp_path: Path) -> None:
    sub = repository(tmp_path / "sub", "s.c")
    main = repository(tmp_path / "main")
    git(main, *SUBMODULE, str(sub), "sub")
    git(main, "commit", "-qm", "sub")
    source = f'git = "{main}", commit = "{git(main, "rev-parse", "HEAD")}"'
    recipe(small, f"{{ {source} }}")
    said = small.ask("build", "x:unpack", code=1)
    assert "has submodules (sub); add submodules = true" in said and "Traceback" not in said
    recipe(small, f"{{ {source}, submodules = true }}")
    small.prov("build", "--sandbox", "none", "x:unpack")
    assert unpacked(small, "main/sub/s.c").read_text() == "1\n"
    assert not list(unpacked(small, "main").rglob(".git"))
    recipe(small, f"{{ {source}, submodules = false }}")
    small.prov("build", "x:unpack")
    assert list(unpacked(small, "main/sub").iterdir()) == []


def test_errors_of_git(small: Project, tmp_path: Path) -> None:
    main = repository(tmp_path / "main")
    for origin, commit in ((main, "1" * 40), (tmp_path / "nothing", "1" * 40)):
        recipe(small, f'{{ git = "{origin}", commit = "{commit}" }}')
        said = small.ask("build", "x:fetch", code=1)
        assert f"{origin}: git: " in said and "fatal: " in said and "Traceback" not in said


def test_a_source_that_contains_the_project(small: Project) -> None:
    """A source excludes build files and version control, so nothing changes without an edit."""
    git(small.root.parent, "init", "-q", str(small.root))
    small.write("main.c", "1\n")
    small.write("notes.o", "1\n")
    more = (
        "[tasks.look]\nafter = ['unpack']\noutputdir = 'out'\nscript = 'ls -A whole > out/list'\n"
    )
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "ls ')
    recipe(small, '{ file = "..", name = "whole", exclude = ["*.o"] }', more)
    small.prov("build", "x:look")
    listing = "build/work/*/x/unpack/out/list"
    assert next(small.root.glob(listing)).read_text().split() == ["main.c", "prov.toml", "recipes"]
    git(small.root, "add", "main.c")
    assert "nothing to do" in small.ask("build", "x:look")
    recipe(small, '{ file = "../build/work" }')
    assert "which builds write to" in small.refused("plan", "x:unpack")


def test_gitignored_files(small: Project) -> None:
    source = small.root / "recipes/src"
    for name in ("a", "b.o", "kept.o", "d/c.o", "d/only", "e/x/y"):
        small.write(f"recipes/src/{name}", "1\n")
    small.write("recipes/src/.gitignore", "*.o\ne/\n")
    small.write("recipes/src/d/.gitignore", "!c.o\nonly\n")
    recipe(small, '{ file = "src", gitignore = true }')

    def names() -> list[str]:
        small.prov("build", "x:unpack")
        return sorted(
            str(path.relative_to(unpacked(small, "src")))
            for path in unpacked(small, "src").rglob("*")
        )

    assert names() == [".gitignore", "a", "d", "d/.gitignore", "d/c.o"]
    git(source, "init", "-q")
    git(source, "add", "-f", "kept.o")
    assert names() == [".gitignore", "a", "d", "d/.gitignore", "d/c.o", "kept.o"]


def test_captures_skip_excluded_files(small: Project) -> None:
    small.edit("prov.toml", "[variables]", 'exclude = ["*.tmp", "no/"]\n[variables]')
    repository(small.root / "src", "file")
    small.write("src/x.tmp", "1\n")
    small.write("src/no/file", "1\n")
    small.write("src/sub/.git", "gitdir: ..\n")
    small.prov("capture", "src", "--as", "e:src")
    assert small.ask("diff", "e:src") == "A file\nA sub/\n"
    small.prov(
        "run",
        "-C",
        "src",
        "--as",
        "e:run",
        "--",
        "sh",
        "-c",
        "echo 2 > y.tmp; echo 2 > new; git log -1 > /dev/null",
    )
    assert small.ask("diff", "e:run") == "A new\n"
    small.prov("checkout", "e:run", "got")
    assert sorted(path.name for path in (small.root / "got").iterdir()) == ["file", "new", "sub"]


def acl(path: Path) -> None:
    """Give a folder a default ACL for a different user, as shared folders have."""
    none = 0xFFFFFFFF
    rows = [(1, 7, none), (4, 7, none), (8, 7, 100), (0x10, 7, none), (0x20, 5, none)]
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    try:
        os.setxattr(path, "system.posix_acl_default", data)
    except OSError as error:
        pytest.skip(f"{path}: no ACLs on this file system: {error}")


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_default_acl(small: Project, tmp_path: Path, when: str) -> None:
    small.edit("prov.toml", 'sandbox = "none"', 'sandbox = "auto"')
    if when == "before":
        acl(small.root)
    small.write("recipes/src/a", "1\n")
    more = (
        "[tasks.go]\nafter = ['unpack']\noutputdir = 'out'\nscript = 'mkdir out/d; cp -a src/a"
        " out/d/a'\n"
    )
    recipe(small, '{ file = "src" }', more)
    small.prov("build", "x:go")
    if when == "between":
        folders = [
            small.root,
            *(path for path in small.root.rglob("*") if path.is_dir() and not path.is_symlink()),
        ]
        for folder in folders:
            acl(folder)
        small.edit("recipes/x.toml", "mkdir out/d", "mkdir -p out/d")
        small.prov("build", "x:go")
    plain = Project(tmp_path / "plain")
    shutil.copytree(small.root, plain.root, ignore=shutil.ignore_patterns(".prov", "build"))
    plain.prov("build", "x:go")
    assert plain.json("show", "x:go")["output"] == small.json("show", "x:go")["output"]


def test_without_an_acl_nothing_is_placed_again(small: Project) -> None:
    """The kernel reports success even if there was no ACL to remove."""
    small.write("recipes/src/a", "1\n")
    more = "[tasks.go]\nafter = ['unpack']\noutputdir = 'out'\nscript = 'cp src/a out/a'\n"
    recipe(small, '{ file = "src" }', more)
    small.prov("build", "x:go")
    inode = unpacked(small, "src/a").stat().st_ino
    small.edit("recipes/x.toml", "cp src/a", "cp  src/a")
    small.prov("build", "x:go")
    assert unpacked(small, "src/a").stat().st_ino == inode
    assert not drop_default_acl(small.root)


def test_a_colon_in_the_path(tmp_path: Path) -> None:
    project = Project(tmp_path / "co:lon")
    project.write("prov.toml", 'sandbox = "none"\n')
    project.task("cp /etc/hostname out/file")
    assert "a path with a colon cannot be in PATH" in project.refused("build", "a:go")
