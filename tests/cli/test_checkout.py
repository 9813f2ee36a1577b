"""`prov checkout`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sysroots import HELLO, listed, run
from tests.trees import describe

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


@pytest.mark.parametrize(("name", "present", "absent"), NAMES, ids=[row[0] for row in NAMES])
def test_parts_of_runs_can_be_checked_out(
    hello: Path, tmp_path: Path, name: str, present: set[str], absent: set[str]
) -> None:
    run("checkout", name, str(tmp_path / "o"), cwd=hello)
    assert present <= set(listed(tmp_path / "o"))
    assert not any((tmp_path / "o" / path).exists() for path in absent)


def test_recorded_sysroot_equals_the_composed_packages(hello: Path, tmp_path: Path) -> None:
    run("checkout", "hello:compile@sysroot", str(tmp_path / "seen"), cwd=hello)
    run("compose", str(tmp_path / "composed"), *HELLO[:2], cwd=hello)
    assert describe(tmp_path / "seen", mtimes=False) == describe(
        tmp_path / "composed", mtimes=False
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hello:compile@sysrot", "did you mean sysroot or sysroot-native?"),
        ("words:populate_sysroot@output/nothing", "no such folder: nothing"),
        ("words:populate_sysroot@output/sysroot-destdir/usr/include/words.h", "no such folder: "),
        ("helo:compile@sysroot", "did you mean hello:compile"),
    ],
)
def test_missing_parts_are_named(hello: Path, tmp_path: Path, name: str, message: str) -> None:
    assert message in run("checkout", name, str(tmp_path / "o"), cwd=hello, code=1).stderr
    assert not (tmp_path / "o").exists()
