"""Postinst scripts of packages in a sysroot."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import SysrootError
from prov.sysroot.postinst import ScriptRunner, plain_run
from prov.worktree.merge import Owned
from tests.sysroot.conftest import Composer, File, Link, Spec, fingerprint
from tests.trees import AS_ROOT, describe

INDEX = "mkdir -p usr/lib/modules; ls usr/lib/modules > usr/lib/modules.index"
counter = itertools.count()
Scripted = Callable[..., Owned]


@pytest.fixture
def scripted(composer: Composer) -> Scripted:
    """Return a package with scripts, given by name, and other files."""

    def make(owner: str, spec: Spec | None = None, **scripts: str) -> Owned:
        mine = {
            f"usr/bin/postinst-{name}": f"#!/bin/sh -e\n{text}\n" for name, text in scripts.items()
        }
        return composer.owned(owner, {**(spec or {}), **mine})

    return make


@pytest.fixture
def modules(composer: Composer) -> list[Owned]:
    return [
        composer.owned(
            name,
            {f"usr/lib/modules/{name}": name, "etc/conf": "first\n", f"usr/share/{name}/f": "x"},
        )
        for name in ("one", "two", "three")
    ]


def test_scripts_run_in_the_order_of_their_names_when_all_is_linked(
    composer: Composer, scripted: Scripted, modules: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    word = "echo $(basename $0) $(cat usr/lib/modules/* | tr '\\n' ' ') >> log"
    packages = [scripted("z", b=word), *modules, scripted("a", c=word, a=word)]
    composer.compose(tmp_path / "sysroot", packages, run=run)
    lines = (tmp_path / "sysroot/log").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["postinst-a", "postinst-b", "postinst-c"]
    assert {line.partition(" ")[2].strip() for line in lines} == {"onethreetwo"}


def test_a_script_sees_its_final_directory_and_its_environment(
    composer: Composer, scripted: Scripted, tmp_path: Path
) -> None:
    text = (
        "{ pwd; echo $0; echo $SYSROOT $RECIPE_SYSROOT $RECIPE_SYSROOT_NATIVE; echo $PATH; echo"
        " $WORD; cat; } > seen"
    )
    run = plain_run({"PATH": os.environ["PATH"], "WORD": "a word", "SYSROOT": "none"})
    here = tmp_path / "sysroot"
    composer.compose(here, [scripted("p", a=text)], run=run)
    own = ":".join(f"{here}/{folder}" for folder in ("usr/bin", "usr/sbin", "bin", "sbin"))
    assert (here / "seen").read_text().splitlines() == [
        str(here),
        f"{here}/usr/bin/postinst-a",
        f"{here} {here} {here}",
        f"{own}:{os.environ['PATH']}",
        "a word",
    ]


def test_a_script_may_use_the_programs_of_its_sysroot(
    composer: Composer, scripted: Scripted, run: ScriptRunner, tmp_path: Path
) -> None:
    tool = composer.owned(
        "tool", {"usr/bin/make-index": "#!/bin/sh\necho made by a tool > index\n"}
    )
    composer.compose(tmp_path / "sysroot", [scripted("p", a="make-index"), tool], run=run)
    assert (tmp_path / "sysroot/index").read_text() == "made by a tool\n"


EFFECTS: dict[str, tuple[str, dict[str, str | None]]] = {
    "makes a file": ("echo made > usr/new", {"usr/new": "made\n"}),
    "makes an empty file": (": > usr/new", {"usr/new": ""}),
    "appends": ("echo second >> etc/conf", {"etc/conf": "first\nsecond\n"}),
    "writes the same": ("echo first > etc/conf", {"etc/conf": "first\n"}),
    "empties": (": > etc/conf", {"etc/conf": ""}),
    "removes a file": ("rm etc/conf", {"etc/conf": None, "etc": None}),
    "removes a folder": (
        "rm -r usr/share",
        {"usr/share/one/f": None, "usr/lib/modules/one": "one"},
    ),
    "makes a full folder": (
        "mkdir -p a/b; echo x > a/b/c; mkdir a/empty",
        {"a/b/c": "x\n", "a/empty": ""},
    ),
    "replaces a file": ("echo other > t; mv t etc/conf", {"etc/conf": "other\n", "t": None}),
    "renames a folder": ("mv usr/share usr/other", {"usr/other/one/f": "x", "usr/share": None}),
    "makes a link": (
        "ln -s conf etc/alias; ln -s modules/one usr/lib/current",
        {"usr/lib/current": "one"},
    ),
    "makes a hardlink": (
        "ln etc/conf etc/second; echo x >> etc/second",
        {"etc/second": "first\nx\n"},
    ),
    "puts a link for a file": (
        "mv etc/conf etc/real; ln -s real etc/conf",
        {"etc/conf": "first\n"},
    ),
    "puts a folder for a file": (
        "rm etc/conf; mkdir etc/conf; echo x > etc/conf/d",
        {"etc/conf/d": "x\n"},
    ),
    "puts a file for a folder": ("rm -r usr/share; echo x > usr/share", {"usr/share": "x\n"}),
    "turns a link": ("ln -sf /etc usr/way", {"usr/way": None}),
    "gives a mode": ("chmod 4711 etc/conf; chmod 600 usr/lib/modules/one", {"etc/conf": "first\n"}),
    "writes an index": (INDEX, {"usr/lib/modules.index": "one\nthree\ntwo\n"}),
    "has names of git's": ("mkdir x; echo 1 > x/.git; echo 2 > 'x/%attributes'", {"x/.git": "1\n"}),
    "changes itself": ('echo "# again" >> $0', {}),
    "does nothing": ("true", {"etc/conf": "first\n"}),
}


@pytest.mark.parametrize("what", EFFECTS)
def test_a_scripts_changes_are_private_and_deleted_with_it(
    composer: Composer,
    scripted: Scripted,
    modules: list[Owned],
    run: ScriptRunner,
    tmp_path: Path,
    what: str,
) -> None:
    script, expected = EFFECTS[what]
    here, package = tmp_path / "sysroot", scripted("p", {"usr/way": Link(b"lib")}, a=script)
    composer.compose(tmp_path / "without", modules)
    plain = describe(tmp_path / "without")
    pool = {path: path.read_bytes() for path in composer.sysroots.pool.folder.glob("??/*")}
    pair = composer.compose(here, [*modules, package], run=run)
    for path, text in expected.items():
        if text is None:
            assert not (here / path).is_file()
        elif not (here / path).is_dir():
            assert (here / path).read_text() == text
    made = describe(here)
    for name in made.keys() | plain.keys():
        kept = name in made and name in plain and made[name][:4] == plain[name][:4]
        full = os.path.join(os.fsencode(here), name)
        if (
            not kept
            and name in made
            and stat.S_ISREG(os.lstat(full).st_mode)
            and b"postinst-" not in name
        ):
            assert os.lstat(full).st_nlink == 1, name
    assert composer.check(here) == []
    assert composer.compose(tmp_path / "fresh", [package, *modules], run=run) == pair
    assert describe(tmp_path / "fresh") == made
    composer.compose(here, modules, run=run)
    assert describe(here) == plain
    assert {path: path.read_bytes() for path in pool} == pool
    composer.assert_pool_intact()


def test_a_file_that_scripts_do_not_change_is_linked(
    composer: Composer, scripted: Scripted, modules: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    composer.compose(tmp_path / "other", modules)
    composer.compose(
        tmp_path / "one", [*modules, scripted("p", a="echo more >> etc/conf")], run=run
    )
    for name in ("usr/lib/modules/one", "usr/share/two/f", "usr/bin/postinst-a"):
        assert (tmp_path / "one" / name).stat().st_nlink > 1
    assert (tmp_path / "one/etc/conf").stat().st_nlink == 1
    assert composer.pool_file(b"first\n").read_bytes() == b"first\n"
    assert composer.check(tmp_path / "other") == []


def test_a_file_of_a_script_is_not_shared(
    composer: Composer, scripted: Scripted, modules: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    packages = [*modules, scripted("p", a=INDEX)]
    for name in ("one", "two"):
        composer.compose(tmp_path / name, packages, run=run)
    expected = describe(tmp_path / "two")
    with open(tmp_path / "one/usr/lib/modules.index", "a") as stream:
        stream.write("mine")
    [found] = composer.check(tmp_path / "one")
    assert found.path == b"usr/lib/modules.index"
    assert composer.sysroots.pool.generation() == 0
    assert composer.composed(tmp_path / "two", packages, run=run).notes == ()
    composer.compose(tmp_path / "one", packages, run=run)
    assert describe(tmp_path / "one") == describe(tmp_path / "two") == expected


def test_scripts_run_again_only_after_a_change(
    composer: Composer, scripted: Scripted, modules: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    ran: list[str] = []

    def counted(script: str, directory: Path) -> tuple[int, bytes]:
        ran.append(os.path.basename(script))
        return run(script, directory)

    def compose(*packages: Owned, **how: object) -> int:
        ran.clear()
        composer.compose(tmp_path / "sysroot", packages, run=counted, **how)
        return len(ran)

    index = scripted("p", a=INDEX)
    assert compose(index, *modules) == 1
    before = fingerprint(tmp_path / "sysroot")
    assert compose(*modules, index) == 0
    assert fingerprint(tmp_path / "sysroot") == before
    assert compose(index, *modules[:2]) == 1
    assert (tmp_path / "sysroot/usr/lib/modules.index").read_text() == "one\ntwo\n"
    assert compose(index, *modules[:2], environment={"tool": "1"}) == 1
    assert compose(index, *modules[:2], environment={"tool": "1"}) == 0
    assert compose(index, *modules[:2], environment={"tool": "2"}) == 1
    assert compose(scripted("p", a="echo $(ls usr/lib/modules) > index"), *modules[:2]) == 1
    assert not (tmp_path / "sysroot/usr/lib/modules.index").exists()
    assert compose(*modules[:2]) == 0
    assert not (tmp_path / "sysroot/index").exists()
    assert compose(*modules, index, scripted("q", b="true")) == 2


def test_after_any_steps_a_sysroot_with_scripts_equals_a_fresh_one(
    composer: Composer, scripted: Scripted, modules: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    scripts = [
        INDEX,
        "echo $(cat etc/conf) more >> etc/conf",
        "rm -f usr/lib/modules/one",
        "ls -R . > all",
    ]
    conf = {"etc/conf": "first\n"}
    pieces = [
        *modules,
        *(scripted(f"s{at}", conf, **{f"s{at}": text}) for at, text in enumerate(scripts)),
    ]

    @settings(max_examples=40)
    @given(chain=st.lists(st.sets(st.integers(0, len(pieces) - 1)), min_size=2, max_size=4))
    def check(chain: list[set[int]]) -> None:
        here = tmp_path / str(next(counter))
        for number, chosen in enumerate(chain):
            wanted = [pieces[at] for at in sorted(chosen)]
            pair = composer.compose(here / "delta", wanted, run=run)
            assert pair == composer.compose(here / f"fresh{number}", wanted[::-1], run=run)
            assert describe(here / "delta") == describe(here / f"fresh{number}")
        composer.assert_pool_intact()

    check()


FAILURES: list[tuple[str, str]] = [
    ("echo what is wrong >&2; exit 3", "what is wrong"),
    ("exit 7", "exit status 7"),
    ("no-such-program", "not found"),
    (
        "echo made > made; mkdir folder; echo x >> etc/conf; rm usr/lib/modules/two; exit 1",
        "exit status 1",
    ),
]


@pytest.mark.parametrize(("script", "said"), FAILURES)
@pytest.mark.parametrize("there", [False, True])
def test_a_failure_names_script_and_package_and_the_next_composition_is_right(
    composer: Composer,
    scripted: Scripted,
    modules: list[Owned],
    run: ScriptRunner,
    tmp_path: Path,
    script: str,
    said: str,
    there: bool,
) -> None:
    here, good = tmp_path / "sysroot", scripted("culprit:install", b=INDEX)
    if there:
        composer.compose(here, [*modules, good], run=run)
    packages = [
        *modules,
        scripted("innocent:install", a="true"),
        scripted("culprit:install", b=script),
    ]
    for _ in range(2):
        with pytest.raises(SysrootError) as raised:
            composer.compose(here, packages, run=run)
        for word in ("postinst-b", "culprit:install", str(here), said):
            assert word in str(raised.value)
        assert "innocent" not in str(raised.value)
        assert raised.value.hint
        assert not composer.state(here).ready
    pair = composer.compose(here, [*modules, good], run=run)
    assert pair == composer.compose(tmp_path / "fresh", [*modules, good], run=run)
    assert describe(here) == describe(tmp_path / "fresh")
    assert composer.state(here).ready
    composer.assert_pool_intact()


def test_scripts_after_a_failed_one_do_not_run(
    composer: Composer, scripted: Scripted, run: ScriptRunner, tmp_path: Path
) -> None:
    with pytest.raises(SysrootError):
        composer.compose(
            tmp_path / "sysroot", [scripted("p", a="exit 1", b=f"touch {tmp_path}/ran")], run=run
        )
    assert not (tmp_path / "ran").exists()


def test_a_script_that_may_not_be_run_is_named(
    composer: Composer, run: ScriptRunner, tmp_path: Path
) -> None:
    package = composer.owned("p", {"usr/bin/postinst-a": File(b"#!/bin/sh\n", 0o644)})
    with pytest.raises(SysrootError, match=r"postinst-a of p failed.*Permission denied"):
        composer.compose(tmp_path / "sysroot", [package], run=run)


@pytest.mark.parametrize(
    "make",
    [
        "mkfifo fifo",
        pytest.param(
            "mknod dev c 1 3",
            marks=pytest.mark.skipif(not AS_ROOT, reason="only root can make one"),
        ),
    ],
)
def test_a_script_that_creates_a_special_file_is_an_error(
    composer: Composer, scripted: Scripted, run: ScriptRunner, tmp_path: Path, make: str
) -> None:
    with pytest.raises(SysrootError, match="created a special file"):
        composer.compose(tmp_path / "sysroot", [scripted("p", a=make)], run=run)
    assert not composer.state(tmp_path / "sysroot").ready


def test_without_a_way_to_run_them_scripts_are_files(
    composer: Composer, scripted: Scripted, tmp_path: Path
) -> None:
    composer.compose(tmp_path / "sysroot", [scripted("p", a="echo made > made")])
    assert not (tmp_path / "sysroot/made").exists()
    assert (tmp_path / "sysroot/usr/bin/postinst-a").exists()
