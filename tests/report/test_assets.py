"""The style sheets and the script of the pages parse without errors."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from prov.report.assets import asset
from prov.report.drawing import variables

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FILES = [file.name for file in resources.files("prov.report").iterdir()]
SHEETS = sorted(name for name in FILES if name.endswith(".css"))
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(r"\{([^{}]*)\}")
_SUPPORTED = "return arguments[0].filter(([name, value]) => !CSS.supports(name, value))"
_SELECTORS = """
    const refused = [];
    for (const selector of arguments[0])
        try { document.querySelector(selector) } catch { refused.push(selector) }
    return refused
"""


def declarations(sheet: str) -> list[tuple[str, str]]:
    """Return property and value of each declaration in a style sheet."""
    texts = [text for block in _BLOCK.findall(sheet) for text in block.split(";")]
    pairs = [text.partition(":") for text in texts if text.strip()]
    return [
        (name.strip(), value.strip().removesuffix("!important").strip()) for name, _, value in pairs
    ]


def selectors(sheet: str) -> list[str]:
    """Return the selectors of a style sheet, except those of conditions (`@media`)."""
    return [text.strip() for text in re.findall(r"[^{};]+(?=\{[^{}]*\})", sheet)]


def test_there_are_sheets_and_a_script() -> None:
    assert SHEETS == ["drawing.css", "report.css"]
    assert SCRIPTS == ["report.js"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_node_reads_the_script(name: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (Debian: nodejs)")
    answer = subprocess.run(
        [node, "--check", "--input-type=commonjs", "-"],
        input=asset(name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stderr == ""
    assert answer.returncode == 0


@pytest.mark.parametrize("name", SHEETS)
def test_braces_of_a_sheet_are_balanced(name: str) -> None:
    sheet = _COMMENT.sub("", asset(name))
    depth = 0
    for letter in sheet:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert 0 <= depth <= 2
    assert depth == 0


@pytest.mark.parametrize("name", SHEETS)
def test_every_variable_of_a_sheet_is_declared(name: str) -> None:
    sheet = asset(name)
    declared = re.findall(r"(--[\w-]+):", sheet + variables() + asset("report.css"))
    set_by_script = re.findall(r'setProperty\("(--[\w-]+)"', asset("report.js"))
    used = set(re.findall(r"var\((--[\w-]+)\)", sheet))
    assert used
    assert used - {*declared, *set_by_script} == set()


@pytest.mark.parametrize("name", SHEETS)
def test_chromium_knows_every_property_value_and_selector(chrome: Chrome, name: str) -> None:
    sheet = _COMMENT.sub("", asset(name))
    chrome.get("about:blank")
    assert len(declarations(sheet)) > 15
    assert chrome.execute_script(_SUPPORTED, declarations(sheet)) == []
    assert chrome.execute_script(_SELECTORS, selectors(sheet)) == []
