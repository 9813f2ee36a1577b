"""`prov sysroot`, `prov compose`, `prov check`, and the names of sysroots, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sysroot.conftest import fingerprint
from tests.trees import describe

PROV = str(Path(sys.executable).with_name("prov"))
DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
Prov = Callable[..., subprocess.CompletedProcess[str]]
Compose = Callable[..., subprocess.CompletedProcess[str]]

RECIPES = {
    "left": (
        "echo left > $D/usr/share/same; echo 1 > $D/usr/share/left; ln $D/usr/share/left"
        " $D/usr/share/left2"
    ),
    "right": (
        "echo right > $D/usr/share/same; echo 2 > $D/usr/share/right; ln -s right $D/usr/share/link"
    ),
    "text": (
        'echo "dir=$RECIPE_SYSROOT/usr/lib; work=$WORKDIR;" > $D/usr/share/text; echo x >'
        " $D/usr/share/plain"
    ),
    "held": 'printf "x\\0%s\\0y" "$WORKDIR" > $D/usr/share/data',
    "index": (
        "mkdir $D/usr/bin; p=$D/usr/bin/postinst-index; echo '#!/bin/sh' > $p; chmod 755 $p\n"
        "echo 'ls usr/share > usr/share/index' >> $p"
    ),
}


def run(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PROV, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def sandbox() -> str:
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    usable = shutil.which("bwrap") and subprocess.run(command, capture_output=True).returncode == 0
    return "bwrap" if usable else "none"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, with `hello` compiled."""
    root = tmp_path_factory.mktemp("demo") / "demo"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    run("build", "--sandbox", sandbox(), "hello:compile", cwd=root)
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of recipes that disagree, hold paths, or bring a script."""
    root = tmp_path_factory.mktemp("small")
    (root / "recipes").mkdir()
    (root / "prov.toml").write_text('recipes = ["recipes"]\nsandbox = "none"\n')
    for name, script in RECIPES.items():
        text = f"version = '1'\n[tasks.install]\nscript = '''mkdir -p $D/usr/share\n{script}\n'''\n"
        (root / "recipes" / f"{name}.toml").write_text(text)
    (root / "recipes/user.toml").write_text("version = '1'\ndepends = ['left', 'missing']\n")
    (root / "recipes/missing.toml").write_text("version = '1'\n")
    run("build", *RECIPES, cwd=root)
    return root


@pytest.fixture
def compose(small: Path) -> Compose:
    """Compose outputs of the small project by the recipes' names."""

    def call(directory: Path, *names: str, owners: tuple[str, ...] = (), code: int = 0) -> object:
        options = [option for owner in owners for option in ("--owner", owner)]
        return run("compose", str(directory), *map(staged, names), *options, cwd=small, code=code)

    return call  # type: ignore[return-value]


def staged(name: str) -> str:
    return f"{name}:populate_sysroot"


def listed(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()
    )


def seen(directory: Path) -> dict[bytes, tuple[Any, ...]]:
    """Return all there is to see but for hardlinks, and for the file that holds the directory's own
    path.
    """
    return {path: row[:4] for path, row in describe(directory).items() if path != b"usr/share/text"}


# prov sysroot

HELLO = ["greet:populate_sysroot", "words:populate_sysroot", "embed-native:populate_sysroot"]


@pytest.mark.parametrize(
    ("name", "head"),
    [("hello", "hello:configure,compile,install"), ("hello:compile", "hello:compile")],
)
def test_sysroot_lists_packages_below_what_brought_them(demo: Path, name: str, head: str) -> None:
    assert run("sysroot", name, cwd=demo).stdout.splitlines() == [
        head,
        "  recipe-sysroot",
        "    greet:populate_sysroot",
        "      words:populate_sysroot",
        "  recipe-sysroot-native",
        "    embed-native:populate_sysroot",
    ]


def test_sysroot_tree_tells_sizes(demo: Path) -> None:
    lines = run("sysroot", "hello:compile", "--tree", cwd=demo).stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if "populate_sysroot" in line}
    assert list(rows) == HELLO
    for name, files in zip(HELLO, ("2 files", "3 files", "1 file"), strict=True):
        assert " ".join(rows[name][:2]) == files
        assert rows[name][3] in ("B", "kB")


def test_sysroot_json_has_a_schema_chains_and_sizes(demo: Path, tmp_path: Path) -> None:
    told = json.loads(run("sysroot", "hello", "--json", cwd=demo).stdout)
    assert (told["schema"], told["kind"]) == (1, "sysroot")
    [group] = told["sysroots"]
    assert (group["recipe"], group["tasks"]) == ("hello", ["configure", "compile", "install"])
    assert [row["package"] for row in group["packages"]] == HELLO
    words = group["packages"][1]
    assert words["chain"] == ["hello depends on greet", "which needs words at run time"]
    run("checkout", words["output"], str(tmp_path / "o"), cwd=demo)
    files = [
        path
        for path in (tmp_path / "o/sysroot-destdir").rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    assert (words["files"], words["bytes"]) == (
        len(files),
        sum(path.stat().st_size for path in files),
    )


def test_sysroot_of_a_task_that_has_none_says_so(demo: Path) -> None:
    assert run("sysroot", "hello:unpack", cwd=demo).stdout.splitlines() == [
        "hello:unpack",
        "  nothing",
    ]


def test_sysroot_tells_what_is_not_built(small: Path) -> None:
    lines = run("sysroot", "user:compile", "--tree", cwd=small).stdout.splitlines()
    assert [line.split()[1:3] for line in lines[2:]] == [["3", "files"], ["not", "built"]]
    rows = json.loads(run("sysroot", "user:compile", "--json", cwd=small).stdout)["sysroots"][0][
        "packages"
    ]
    assert [row["output"] is None for row in rows] == [False, True]
    assert (
        "left:populate_sysroot"
        in run("sysroot", "user", "--why", "usr/share/same", cwd=small).stdout
    )
    run("sysroot", "user", "--why", "usr/share/right", cwd=small, code=1)


WHYS = [
    ("usr/include/words.h", "file of words:populate_sysroot in recipe-sysroot", HELLO[1]),
    ("/usr/include/words.h", "file of words:populate_sysroot in recipe-sysroot", HELLO[1]),
    (
        "recipe-sysroot/usr/include/words.h",
        "file of words:populate_sysroot in recipe-sysroot",
        HELLO[1],
    ),
    (
        "/recipe-sysroot/usr/include/greet.h",
        "file of greet:populate_sysroot in recipe-sysroot",
        HELLO[0],
    ),
    ("usr/lib/libgreet.so", "link of greet:populate_sysroot in recipe-sysroot", HELLO[0]),
    (
        "recipe-sysroot-native/usr/bin/embed",
        "file of embed-native:populate_sysroot in recipe-sysroot-native",
        HELLO[2],
    ),
    ("usr/lib/pkgconfig/", "folder of words:populate_sysroot in recipe-sysroot", HELLO[1]),
]
CHAINS = {
    HELLO[0]: ["hello depends on greet"],
    HELLO[1]: ["hello depends on greet", "which needs words at run time"],
    HELLO[2]: ["hello depends on the tool embed-native"],
}


@pytest.mark.parametrize(("path", "expected", "package"), WHYS)
def test_sysroot_why_tells_the_package_and_the_chain(
    demo: Path, path: str, expected: str, package: str
) -> None:
    first, *chain = run("sysroot", "hello", "--why", path, cwd=demo).stdout.splitlines()
    assert first.endswith(f"  {expected}")
    assert [line.strip() for line in chain] == CHAINS[package]
    told = json.loads(run("sysroot", "hello:compile", "--why", path, "--json", cwd=demo).stdout)
    assert (told["schema"], told["kind"]) == (1, "sysroot why")
    [row] = told["packages"]
    assert (row["package"], row["kind"], row["chain"]) == (
        package,
        expected.split()[0],
        CHAINS[package],
    )


def test_sysroot_why_of_a_folder_names_all_that_have_it(demo: Path) -> None:
    lines = run("sysroot", "hello", "--why", "usr/include", cwd=demo).stdout.splitlines()
    heads = [line for line in lines if not line.startswith("  ")]
    assert heads == [f"usr/include  folder of {name} in recipe-sysroot" for name in HELLO[:2]]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ["hello", "--why", "usr/include/word.h"],
            "no package in the sysroots of hello has",
            "prov sysroot hello",
        ),
        (["hello", "--why", "recipe-sysroot/nothing"], "has nothing", "prov sysroot hello --tree"),
        (["helo"], "no recipe is called helo", "did you mean hello?"),
        (["hello:compil"], "hello has no task compil", "did you mean compile?"),
        (
            ["hello:unpack", "--why", "usr/include/words.h"],
            "hello:unpack has usr/include/words.h",
            "hello:unpack",
        ),
    ],
)
def test_sysroot_of_what_is_unknown_has_a_hint(
    demo: Path, arguments: list[str], message: str, hint: str
) -> None:
    done = run("sysroot", *arguments, cwd=demo, code=1)
    assert message in done.stderr
    assert hint in done.stderr.partition("hint:")[2]
    assert done.stdout == ""


# prov compose


def test_compose_makes_a_directory_of_links_and_updates_it_in_place(
    compose: Compose, small: Path, tmp_path: Path
) -> None:
    root = tmp_path / "new" / "root"
    assert compose(root, "left", "text").stdout == f"{root} is composed of 2 trees\n"
    assert listed(root) == [
        f"usr/share/{name}" for name in ("left", "left2", "plain", "same", "text")
    ]
    plain = (root / "usr/share/plain").stat()
    assert plain.st_nlink > 1
    compose(tmp_path / "second", "text")
    assert (tmp_path / "second/usr/share/plain").stat().st_ino == plain.st_ino
    assert compose(root, "text").stdout == f"{root} is composed of 1 tree\n"
    assert seen(root) == seen(tmp_path / "second")
    assert (root / "usr/share/plain").stat().st_ino == plain.st_ino
    compose(root, "text", "right")
    assert listed(root) == [
        f"usr/share/{name}" for name in ("link", "plain", "right", "same", "text")
    ]


def test_compose_puts_the_directorys_own_paths_into_files(compose: Compose, tmp_path: Path) -> None:
    for name in ("one", "another"):
        compose(tmp_path / name, "text")
        here = tmp_path / name
        assert (here / "usr/share/text").read_text() == f"dir={here}/usr/lib; work=/nonexistent;\n"
        assert (here / "usr/share/text").stat().st_nlink == 1


def test_compose_runs_scripts(compose: Compose, tmp_path: Path) -> None:
    root = tmp_path / "root"
    compose(root, "index", "left")
    assert (root / "usr/share/index").read_text().split() == ["index", "left", "left2", "same"]
    compose(root, "index", "text")
    assert (root / "usr/share/index").read_text().split() == ["index", "plain", "text"]
    compose(root, "text")
    assert not (root / "usr/share/index").exists()


def test_compose_takes_any_tree(demo: Path, tmp_path: Path) -> None:
    names = ["hello:compile@sysroot", "embed-native:populate_sysroot@output/sysroot-destdir/usr"]
    run("compose", str(tmp_path / "root"), *names, cwd=demo)
    assert {"usr/include/words.h", "usr/lib/libgreet.so.2", "bin/embed"} <= set(
        listed(tmp_path / "root")
    )
    tree = json.loads(run("sysroot", "hello", "--json", cwd=demo).stdout)["sysroots"][0][
        "packages"
    ][0]["output"]
    run("compose", str(tmp_path / "root"), tree, cwd=demo)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["sysroot-destdir"]


def test_compose_refuses_a_conflict_unless_an_owner_is_named(
    compose: Compose, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for there in (False, True):
        done = compose(root, "left", "right", code=1)
        for word in ("usr/share/same: ", staged("left"), staged("right")):
            assert word in done.stderr
        assert root.exists() == there
        compose(root, "text")
    assert (
        "usr/share/same: "
        in compose(root, "left", "right", owners=("usr/share/same=text",), code=1).stderr
    )
    for owner, expected in (
        ("usr/share/same=left:populate_sysroot", "left"),
        ("/usr/share/same=right", "right"),
        ("usr/share/=left", "left"),
    ):
        compose(root, "left", "right", owners=(owner,))
        assert (root / "usr/share/same").read_text() == f"{expected}\n"
        assert {"usr/share/left", "usr/share/right"} <= set(listed(root))
    compose(root, "left", "right", owners=("usr/share/same=left", "usr/share/other=right"))
    compose(root, "left", owners=("no equals sign",), code=2)


def test_compose_keeps_out_of_a_directory_of_somebodys(
    compose: Compose, small: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "mine").write_text("mine")
    assert "is not empty, and was not composed here" in compose(root, "left", code=1).stderr
    assert listed(root) == ["mine"]
    (root / "mine").unlink()
    compose(root, "left")
    (root / "usr/share/mine").write_text("mine")
    done = compose(root, "text", code=1)
    assert "usr/share/mine (was added) since it was composed" in done.stderr
    assert "hint: " in done.stderr
    assert listed(root) == [f"usr/share/{name}" for name in ("left", "left2", "mine", "same")]
    (root / "usr/share/mine").unlink()
    compose(root, "text")
    assert listed(root) == ["usr/share/plain", "usr/share/text"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lef:install", "no run of lef:install is recorded"),
        ("nothing", "'nothing' names nothing in the store"),
    ],
)
def test_compose_of_what_is_unknown_makes_nothing(
    small: Path, tmp_path: Path, name: str, message: str
) -> None:
    done = run("compose", str(tmp_path / "root"), name, cwd=small, code=1)
    assert message in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def test_compose_on_another_file_system_makes_copies(
    compose: Compose, tmp_path: Path, elsewhere: Path
) -> None:
    compose(tmp_path / "root", "left")
    for _ in range(2):
        compose(elsewhere / "root", "left")
        assert seen(elsewhere / "root") == seen(tmp_path / "root")
        assert (elsewhere / "root/usr/share/same").stat().st_nlink == 1
        compose(elsewhere / "root", "text", "index")
    assert (elsewhere / "root/usr/share/index").read_text().split() == ["index", "plain", "text"]


def read_only(store: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that has the store at a read-only mount, which goes with the command."""
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; shift; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(store), *command],
        capture_output=True,
        text=True,
        cwd=store.parent,
    )
    if done.returncode == 77 or "unshare: " in done.stderr:
        pytest.skip(f"can't mount here: {done.stderr.strip()}")
    return done


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a mount"
)
@pytest.mark.parametrize(
    "fill", [False, True], ids=["pool without the files", "pool with the files"]
)
def test_compose_works_from_a_store_that_can_not_be_written_to(
    small: Path, tmp_path: Path, fill: bool
) -> None:
    names = [staged("left"), staged("index"), staged("text")]
    without = None if fill else shutil.ignore_patterns("pool*")
    shutil.copytree(small / ".prov", tmp_path / ".prov", ignore=without, copy_function=os.link)
    (tmp_path / "prov.toml").touch()
    run("compose", str(tmp_path / "expected"), *names, cwd=small)
    before = fingerprint(tmp_path / ".prov")
    done = read_only(tmp_path / ".prov", "touch", str(tmp_path / ".prov/x"))
    assert "Read-only file system" in done.stderr
    (tmp_path / "root").mkdir()
    command = [PROV, "compose", str(tmp_path / "root"), *names]
    done = read_only(tmp_path / ".prov", *command)
    assert done.returncode == 0, done.stderr
    assert seen(tmp_path / "root") == seen(tmp_path / "expected")
    assert (
        tmp_path / "root/usr/share/text"
    ).read_text() == f"dir={tmp_path}/root/usr/lib; work=/nonexistent;\n"
    again = read_only(tmp_path / ".prov", *command)
    assert again.returncode == 1
    assert "was not composed here" in again.stderr
    assert fingerprint(tmp_path / ".prov") == before


def test_two_at_once_compose_one_after_the_other(
    small: Path, compose: Compose, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    wanted = [["left"], ["right"], ["text"]]
    for _ in range(3):
        commands = [[PROV, "compose", str(root), *map(staged, names)] for names in wanted]
        running = [
            subprocess.Popen(command, cwd=small, stdout=-3, stderr=subprocess.PIPE)
            for command in commands
        ]
        assert [process.communicate(timeout=60)[1] for process in running] == [b""] * 3
        assert [process.returncode for process in running] == [0] * 3
    compose(root, *wanted[2])
    compose(tmp_path / "fresh", *wanted[2])
    assert seen(root) == seen(tmp_path / "fresh")
    assert (root / "usr/share/text").read_text().count(f"{root}") == 1


# prov check


def test_check_lists_texts_with_their_places(small: Path) -> None:
    lines = run("check", "text", cwd=small).stdout.splitlines()
    assert lines == [
        "text:install  image/usr/share/text  text, SYSROOT, WORKDIR",
        "text:populate_sysroot  sysroot-destdir/usr/share/text  text, SYSROOT, WORKDIR",
        "2 files name their place; 0 of them can't be used elsewhere",
    ]


def test_check_fails_for_what_can_not_be_used_elsewhere(small: Path) -> None:
    lines = run("check", "held", cwd=small, code=1).stdout.splitlines()
    assert lines == [
        "held:install  image/usr/share/data  holds a path that can't be replaced",
        (
            "held:populate_sysroot  sysroot-destdir/usr/share/data  holds a path that can't be"
            " replaced"
        ),
        "2 files name their place; 2 of them can't be used elsewhere",
    ]


def test_check_json_has_a_schema(small: Path) -> None:
    told = json.loads(run("check", "text", "--json", cwd=small).stdout)
    assert (told["schema"], told["kind"]) == (1, "check")
    assert told["files"][0] == {
        "task": "text:install",
        "path": "image/usr/share/text",
        "kind": "text",
        "places": ["SYSROOT", "WORKDIR"],
    }
    files = json.loads(run("check", "held", "--json", cwd=small, code=1).stdout)["files"]
    assert ("held:install", "held") in [(row["task"], row["kind"]) for row in files]


def test_check_of_what_names_no_place_is_content(small: Path) -> None:
    lines = run("check", "left", cwd=small).stdout.splitlines()
    assert lines == ["0 files name their place; 0 of them can't be used elsewhere"]


def test_check_of_what_is_unknown_has_a_hint(small: Path) -> None:
    done = run("check", "lef", cwd=small, code=1)
    assert "no build of lef is recorded" in done.stderr
    assert "did you mean left" in done.stderr


# names of sysroots

NAMES = [
    (
        "hello:compile@sysroot",
        {"usr/include/greet.h", "usr/include/words.h", "usr/lib/libwords.so.1"},
        {"usr/bin"},
    ),
    ("hello:compile@sysroot-native", {"usr/bin/embed"}, {"usr/include", "usr/lib"}),
    ("hello:compile@sysroot/usr/include", {"greet.h", "words.h"}, {"usr"}),
    ("words:populate_sysroot@output", {"sysroot-destdir/usr/include/words.h"}, {"usr"}),
    ("words:populate_sysroot@output/sysroot-destdir/usr", {"include/words.h"}, {"usr"}),
    ("hello:unpack@sysroot", set(), {"usr"}),
]


@pytest.mark.parametrize(("name", "there", "not_there"), NAMES, ids=[row[0] for row in NAMES])
def test_parts_of_runs_can_be_checked_out(
    demo: Path, tmp_path: Path, name: str, there: set[str], not_there: set[str]
) -> None:
    run("checkout", name, str(tmp_path / "o"), cwd=demo)
    assert there <= set(listed(tmp_path / "o"))
    assert not any((tmp_path / "o" / path).exists() for path in not_there)


def test_a_recorded_sysroot_is_what_the_packages_give(demo: Path, tmp_path: Path) -> None:
    run("checkout", "hello:compile@sysroot", str(tmp_path / "seen"), cwd=demo)
    run("compose", str(tmp_path / "composed"), *HELLO[:2], cwd=demo)
    assert describe(tmp_path / "seen", mtimes=False) == describe(
        tmp_path / "composed", mtimes=False
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hello:compile@sysrot", "did you mean sysroot or sysroot-native?"),
        ("words:populate_sysroot@output/nothing", "there is no folder nothing in it"),
        ("words:populate_sysroot@output/sysroot-destdir/usr/include/words.h", "there is no folder"),
        ("helo:compile@sysroot", "did you mean hello:compile"),
    ],
)
def test_parts_that_are_not_there_are_named(
    demo: Path, tmp_path: Path, name: str, message: str
) -> None:
    assert message in run("checkout", name, str(tmp_path / "o"), cwd=demo, code=1).stderr
    assert not (tmp_path / "o").exists()
