"""Tests of the variables and functions that a task uses, and of expanding values."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import RecipeError
from prov.recipes.recipe import Recipe, Setting, Task
from prov.recipes.variables import expand, reach

VALUES = {
    "A": "1",
    "B": "${A}/b",
    "C": "${B}",
    "LOOP": "${POOL}",
    "POOL": "${LOOP}",
    "GAP": "${NOWHERE}",
}
FUNCTIONS = {"one": "echo $A", "two": "one; echo ${B}", "unused": "echo $C"}


def recipe() -> Recipe:
    settings = {name: Setting(value, "test") for name, value in VALUES.items()}
    return Recipe(
        "r", "1", "target", Path("r.toml"), variables=settings, functions=FUNCTIONS, export=("C",)
    )


@pytest.mark.parametrize(
    ("script", "variables", "functions"),
    [
        ("echo hello", "", ""),
        ("echo $A", "A", ""),
        ("echo ${A:-x} ${#A}", "A", ""),
        ("echo ${B}", "A B", ""),
        ("echo '$A'", "A", ""),
        ("# $A two", "", ""),
        ("echo x # $A", "", ""),
        ("echo x#$A", "A", ""),
        ('echo "# $A"', "A", ""),
        ("echo $# $A", "A", ""),
        ("one", "A", "one"),
        ("if true; then two; fi", "A B", "one two"),
        ("trap two EXIT", "A B", "one two"),
        ("echo $UNKNOWN", "", ""),
        ("A_B=1", "", ""),
        ("cat <<END\\n#define X $A\\nEND", "A", ""),
    ],
)
def test_a_shell_script_reaches(script: str, variables: str, functions: str) -> None:
    found = reach(recipe(), Task("t", script))
    assert (" ".join(found.variables), " ".join(found.functions)) == (variables, functions)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo $UNKNOWN", r"r.toml: tasks.t.script: \$\{UNKNOWN\} is not set"),
        ("if false; then echo ${UNKNOWN%x}; fi", "UNKNOWN"),
        ("echo $C; GAP=1; echo $GAP", ""),
        ("echo $GAP", r"r.toml: tasks.t: GAP: \$\{NOWHERE\} is not set"),
        ("echo ${UNKNOWN:-} $UNKNOWN", ""),
        ("read UNKNOWN; for X in a; do echo $UNKNOWN $X; done; f() { local Y; echo $Y; }", ""),
        ("awk '{ print $NF }'; echo \\$OTHER; cat <<'END'\n$THIRD\nEND\n", ""),
        (". ./settings; echo $UNKNOWN", ""),
        ("echo $HOME $1 $@ $$ $PWD $TOKEN $DIRECT_TOOL $WORKDIR", ""),
        ("one; echo $LATE", "LATE"),
    ],
)
def test_an_unset_name_is_rejected(script: str, message: str) -> None:
    if message:
        with pytest.raises(RecipeError, match=message):
            reach(recipe(), Task("t", script), ("TOKEN",))
    else:
        reach(recipe(), Task("t", script), ("TOKEN",))


def test_a_postprocess_text_is_checked() -> None:
    reach(recipe(), Task("t", "", postprocess="echo ${A} > $OUTPUT_DIR/x; echo ${OUTPUT_DIR}"), ())
    with pytest.raises(RecipeError, match=r"tasks.t.postprocess: \$\{NOWHERE\} is not set"):
        reach(recipe(), Task("t", "", postprocess="echo ${NOWHERE}"), ())


def test_a_python_script_uses_every_name_in_it() -> None:
    assert reach(recipe(), Task("t", "os.environ['B']", interpreter="python3")).variables == (
        "A",
        "B",
    )


def test_folders_vardeps_and_exports_are_used() -> None:
    assert reach(recipe(), Task("t", "", dir="${A}")).variables == ("A",)
    assert reach(recipe(), Task("t", "", vardeps=("B",))).variables == ("A", "B")
    assert reach(recipe(), Task("t", "", hosttools=("@toolchain",))).variables == ("A", "B", "C")


def test_values_expand_late_and_recursively() -> None:
    assert expand("${C}!", recipe().variables, where="here") == "1/b!"
    assert expand("${C} $A", recipe().variables, where="here", keep=("A",)) == "${A}/b $A"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${LOOP}", "here: variable cycle: LOOP -> POOL -> LOOP"),
        ("${GAP}", r"here: \$\{NOWHERE\} is not set \(used by GAP\)"),
        ("${a}", r"here: \$\{a\} is not set"),
    ],
)
def test_an_invalid_value_is_reported(value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        expand(value, recipe().variables, where="here")
