"""A bill is about a build's targets, a recipe's targets, or one task."""

from __future__ import annotations

import pytest

from prov.errors import NameUnknown
from prov.sbom.targets import find_targets
from tests.history.tiny import Tiny


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("latest", ("image:image",)),
        ("image", ("image:image",)),
        ("lib:make", ("lib:make",)),
        ("latest/lib:stage", ("lib:stage",)),
        ("latest/image", ("image:image",)),
    ],
)
def test_names(tiny: Tiny, name: str, targets: tuple[str, ...]) -> None:
    build, found = find_targets(tiny.store, name)
    assert (build.commit, found) == (tiny.latest().commit, targets)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("lib", "no task of lib is a target", "name a task, such as lib:stage"),
        ("lib:mke", "has no lib:mke", "did you mean lib:make"),
        ("latest/nothing:here", "has no nothing:here", "run `prov builds` to list builds"),
        ("nothing", "no build is named nothing", "run `prov builds` to list builds"),
    ],
)
def test_unknown_names(tiny: Tiny, name: str, message: str, hint: str) -> None:
    with pytest.raises(NameUnknown) as raised:
        find_targets(tiny.store, name)
    assert message in str(raised.value)
    assert hint in raised.value.hint
