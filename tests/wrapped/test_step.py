"""Tests of how to record a run."""

from __future__ import annotations

import pytest

from prov.errors import ProvError
from prov.wrapped.step import CommandStep


@pytest.mark.parametrize(
    ("text", "path"),
    [("image", "image"), ("image/", "image"), ("./a//b/../c", "a/c"), (".", ""), ("a/..", "")],
)
def test_an_output_is_relative_to_the_directory(text: str, path: str) -> None:
    assert CommandStep.parse("app:install", outputs=[text]).outputs == (path,)


@pytest.mark.parametrize("text", ["/usr", "..", "../image", "a/../../b"])
def test_an_output_outside_the_directory_is_refused(text: str) -> None:
    with pytest.raises(ProvError, match="outside the recorded directory"):
        CommandStep.parse("app:install", outputs=[text])


@pytest.mark.parametrize("name", ["app", "app:", "a b:c", "failed:x"])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ProvError, match="invalid task name"):
        CommandStep.parse(name)


def test_outputs_are_recorded_even_if_git_ignores_them() -> None:
    step = CommandStep.parse("app:install", outputs=["image"], exclude=["*.o"], gitignore=True)
    omissions = step.omissions
    assert (omissions.exclude, omissions.gitignore) == (("*.o",), True)
    assert omissions.outputs == ("image",)
