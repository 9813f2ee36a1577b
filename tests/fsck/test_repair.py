"""The changes to the refs of a damaged store."""

from __future__ import annotations

import pytest

from prov.fsck.repair import RefChanges, ref_changes
from prov.store.rawrefs import RawRefs
from prov.store.refs import RefUpdate

A, B, C = "refs/tags/a", "refs/tags/b", "refs/tags/c"
ONE, TWO = b"1" * 20, b"2" * 20


@pytest.mark.parametrize(
    ("refs", "after", "changes"),
    [
        (RawRefs(names={A: ONE}), {A: ONE}, RefChanges((), None, ())),
        (RawRefs(names={A: ONE}), {}, RefChanges((A,), None, (RefUpdate(A, None, ONE),))),
        (RawRefs(names={A: ONE}), {A: TWO}, RefChanges((), None, (RefUpdate(A, TWO, ONE),))),
        (
            RawRefs(names={A: ONE}),
            {A: ONE, B: TWO},
            RefChanges((), None, (RefUpdate(B, TWO, None),)),
        ),
        # an unreadable file is replaced before the transaction
        (
            RawRefs(names={A: ONE}, broken={B: "holds no id"}, packed={A: ONE, B: TWO}),
            {A: ONE, B: TWO},
            RefChanges((), {A: ONE, B: TWO}, ()),
        ),
        (
            RawRefs(names={A: ONE}, broken={B: "holds no id"}, packed={C: TWO}),
            {},
            RefChanges((A, B), {}, (RefUpdate(A, None, ONE),)),
        ),
        (
            RawRefs(names={A: ONE}, packed_wrong=["line 1"], packed={A: TWO}),
            {A: ONE, C: TWO},
            RefChanges((), {A: TWO, C: TWO}, ()),
        ),
    ],
)
def test_changes(refs: RawRefs, after: dict[str, bytes], changes: RefChanges) -> None:
    assert ref_changes(refs, after) == changes
