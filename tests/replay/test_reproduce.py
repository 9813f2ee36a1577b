"""The condition for a reproduced result."""

from __future__ import annotations

import pytest

from prov.history.diff import Difference
from prov.history.names import RunName
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import RunRef
from prov.replay.reproduce import Rerun

KEY = TaskKey("zlib:compile")
RUN = RunName(RunRef(KEY, TaskHash(bytes(20)), 1), CommitId(bytes(20)), seconds=0)
DIFFERENCE = (Difference("file", "added"),)


@pytest.mark.parametrize(
    ("rerun", "same"),
    [
        (Rerun(KEY, RUN, "", "log"), True),
        (Rerun(KEY, RUN, "exit status 1", "log"), False),
        (Rerun(KEY, RUN, "", "", output=DIFFERENCE), False),
        # at a different path the WORKDIR may differ if the output does not
        (Rerun(KEY, RUN, "", "", workdir=DIFFERENCE), True),
        (Rerun(KEY, RUN, "", "", workdir=DIFFERENCE, at_its_path=True), False),
    ],
)
def test_same(rerun: Rerun, same: bool) -> None:
    assert rerun.same is same
