"""40 packages, of which 12 are used: what `prov advise` concludes from real builds."""

from __future__ import annotations

import pytest

from prov.dependencies.findings import Certainty
from tests.dependencies.forty import INVISIBLE, UNUSED, USED, recipes
from tests.dependencies.story import advise, tiny
from tests.history.tiny import Tiny

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project = tiny(tmp_path_factory.mktemp("forty"))
    project.build(recipes(), "world")
    return project


def test_without_traces_no_used_package_is_called_unused(watched: Tiny) -> None:
    advice = advise(watched, "app")
    assert {own.certainty for own in advice.unused} == {Certainty.CANDIDATE}
    names = {own.package.recipe for own in advice.unused}
    assert names == {*UNUSED, *INVISIBLE}
    assert len(UNUSED) + len(USED) == 40
