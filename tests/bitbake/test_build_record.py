"""Tasks in the record of a BitBake build."""

from __future__ import annotations

import pytest

from prov.bitbake.build_record import Hashes, TaskRun, key_of_line
from prov.bitbake.capture import Captured
from prov.bitbake.messages import TaskLine
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey

KEY = TaskKey("zlib:do_compile")


@pytest.mark.parametrize(
    ("restored", "failed", "happened"),
    [
        (False, False, "ran"),
        (True, False, "restored"),
        (False, True, "failed " + "01" * 20),
        (True, True, "failed " + "01" * 20),
    ],
)
def test_outcome_of_a_task(restored: bool, failed: bool, happened: str) -> None:
    run = TaskRun(
        key=KEY,
        version="1.3",
        began=1.0,
        ended=2.0,
        hashes=Hashes("0" * 64, "1" * 64),
        method="",
        outhash="",
        restored=restored,
        failed=failed,
        captured=Captured(KEY, TaskHash(b"\x01" * 20), None, 1, b"\x02" * 20, added=0),
    )
    assert f"{run.happened}" == happened


@pytest.mark.parametrize(
    ("mc", "key"),
    [("", "zlib:do_compile"), ("default", "zlib:do_compile"), ("m", "mc.m.zlib:do_compile")],
)
def test_key_of_a_task_has_its_multiconfig(mc: str, key: str) -> None:
    assert key_of_line(TaskLine(mc, "zlib", "do_compile", "", "")) == key
