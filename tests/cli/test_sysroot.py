"""`prov sysroot`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sysroots import HELLO, run
from tests.schema.check import read_answer


@pytest.mark.parametrize(
    ("name", "head"),
    [("hello", "hello:configure,compile,install"), ("hello:compile", "hello:compile")],
)
def test_packages_are_listed_below_their_dependents(hello: Path, name: str, head: str) -> None:
    assert run("sysroot", name, cwd=hello).stdout.splitlines() == [
        head,
        "  recipe-sysroot",
        "    greet:populate_sysroot",
        "      words:populate_sysroot",
        "  recipe-sysroot-native",
        "    embed-native:populate_sysroot",
    ]


def test_sysroot_tree_shows_sizes(hello: Path) -> None:
    lines = run("sysroot", "hello:compile", "--tree", cwd=hello).stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if "populate_sysroot" in line}
    assert list(rows) == HELLO
    for name, files in zip(HELLO, ("2 files", "3 files", "1 file"), strict=True):
        assert " ".join(rows[name][:2]) == files
        assert rows[name][3] in ("B", "kB")


def test_sysroot_json_has_a_schema_chains_and_sizes(hello: Path, tmp_path: Path) -> None:
    answer = read_answer(run("sysroot", "hello", "--json", cwd=hello).stdout)
    assert (answer["schema"], answer["kind"]) == (1, "sysroot")
    [group] = answer["sysroots"]
    tasks = [f"hello:{task}" for task in ("configure", "compile", "install")]
    assert (group["recipe"], group["tasks"]) == ("hello", tasks)
    assert [row["package"] for row in group["packages"]] == HELLO
    words = group["packages"][1]
    assert words["chain"] == ["hello depends on greet", "which needs words at run time"]
    run("checkout", words["output"], str(tmp_path / "o"), cwd=hello)
    files = [
        path
        for path in (tmp_path / "o/sysroot-destdir").rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    assert (words["files"], words["bytes"]) == (
        len(files),
        sum(path.stat().st_size for path in files),
    )


def test_task_without_packages_is_listed(hello: Path) -> None:
    assert run("sysroot", "hello:unpack", cwd=hello).stdout.splitlines() == [
        "hello:unpack",
        "  nothing",
    ]


def test_packages_that_are_not_built_are_marked(outputs: Path) -> None:
    lines = run("sysroot", "user:compile", "--tree", cwd=outputs).stdout.splitlines()
    assert [line.split()[1:3] for line in lines[2:]] == [["3", "files"], ["not", "built"]]
    rows = read_answer(run("sysroot", "user:compile", "--json", cwd=outputs).stdout)["sysroots"][0][
        "packages"
    ]
    assert [row["output"] is None for row in rows] == [False, True]
    assert (
        "left:populate_sysroot"
        in run("sysroot", "user", "--why", "usr/share/same", cwd=outputs).stdout
    )
    run("sysroot", "user", "--why", "usr/share/right", cwd=outputs, code=1)


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
def test_sysroot_why_shows_the_package_and_the_chain(
    hello: Path, path: str, expected: str, package: str
) -> None:
    first, *chain = run("sysroot", "hello", "--why", path, cwd=hello).stdout.splitlines()
    assert first.endswith(f"  {expected}")
    assert [line.strip() for line in chain] == CHAINS[package]
    answer = read_answer(run("sysroot", "hello:compile", "--why", path, "--json", cwd=hello).stdout)
    assert (answer["schema"], answer["kind"]) == (1, "sysroot-why")
    [row] = answer["packages"]
    assert (row["package"], row["kind"], row["chain"]) == (
        package,
        expected.split()[0],
        CHAINS[package],
    )


def test_sysroot_why_of_a_folder_names_all_its_packages(hello: Path) -> None:
    lines = run("sysroot", "hello", "--why", "usr/include", cwd=hello).stdout.splitlines()
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
        (["hello", "--why", "recipe-sysroot/nothing"], "has nothing", "to list the packages"),
        (["helo"], "no recipe is named helo", "did you mean hello?"),
        (["hello:compil"], "hello has no task compil", "did you mean compile?"),
        (
            ["hello:unpack", "--why", "usr/include/words.h"],
            "hello:unpack has usr/include/words.h",
            "hello:unpack",
        ),
    ],
)
def test_unknown_name_has_a_hint(
    hello: Path, arguments: list[str], message: str, hint: str
) -> None:
    done = run("sysroot", *arguments, cwd=hello, code=1)
    assert message in done.stderr
    assert hint in done.stderr.partition("hint:")[2]
    assert done.stdout == ""
