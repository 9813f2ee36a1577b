"""Tests of the names that a shell script uses, also against a real shell."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prov.recipes.shell_reader import names_in


@pytest.mark.parametrize(
    ("script", "used"),
    [
        ("export X; make", "X"),
        ("export A X=1; echo $X", "A"),
        ("echo $((X + 1)) $(( (A) ))", "A X"),
        ("echo $(( $(echo 1) ))", "echo"),
        ("read X < file; echo $X", ""),
        ("read -r A X; echo $A $X", ""),
        ("while read X; do echo $X; done", ""),
        ("echo a | read X; echo $X", "X"),
        ("while read X; do :; done < file | cat; echo $X", "X"),
        ("X=1; echo $X", ""),
        ("X=1 A=2; echo $X$A", ""),
        ("X=1 make; echo $X", "X"),
        ("X=$X:more; echo $X", "X"),
        ("X=1 &\necho $X", "X"),
        ("X=1 && a &\necho $X", "X"),
        ("X=1; a && b &\necho $X", ""),
        ("a && X=1; echo $X", "X"),
        ("a ||\n\nX=1\necho $X", "X"),
        ("if a; then X=1; fi; echo $X", "X"),
        ("if X=1; then echo $X; elif echo $A; then :; else :; fi", "A"),
        ("case $A in x) X=1 ;; (y|z) : ;; esac; echo $X", "A X"),
        ("case a in\n a)\n X=1\nesac\necho $X", "X"),
        ("for X in a; do echo $X; done", "X"),
        ("f() { X=1; echo $A; }\nf; echo $X", "A X"),
        ("(X=1); echo $X", "X"),
        ("{ X=1; }; echo $X", ""),
        ("echo $(X=1; echo $A); echo $X", "A X"),
        ("unset X; echo ${X-a}", ""),
        ("unset -v X; echo ${X-a}", ""),
        (": ${X:=1} ${#A}", "A X"),
        ('cat <<END\n$A ${B:-$C} \\"$D"\nX=1\nEND\necho $X', "A B C D X"),
        ("cat <<-'END'\n\t$A\n\tEND\necho $B", "A B"),
        ("cat <<A <<B\n$X\nA\n$Y\nB\n", "X Y"),
        ("# $A\necho $B # $C\necho d#$D", "B D"),
        ("echo 'it is $A' \"$(echo \"$B\" | sed 's/$C//')\"", "A B C"),
        ("echo `echo \\`echo $A\\``", "A"),
        ("awk '{ print $NF }'", "NF"),
        ("((X++))", "X"),
        ("[ -v X ] && printenv A", "A X v"),
        ("[[ A -gt 3 ]]", "A gt"),
        ("A=$(echo ')' \"$B\"); echo $A", "B"),
        ('echo "${A:-it\'s $B}"', "A B"),
        ("n=X; echo $(($n + 1))", "X echo n"),
        ("n=X; export $n", "X n export"),
        ("eval 'echo $X; A=1'", "A X echo eval"),
        ("echo 'unclosed $A", "A echo unclosed"),
        ("$A -c x; echo $B", "A B"),
        ("true\n${A}\necho $B", "A B"),
        ("{ $A; echo $B; }; X=1; echo $X", "A B"),
        ("", ""),
        ("\u00a0 $A \u2028$B", "A B"),
    ],
)
def test_used(script: str, used: str) -> None:
    assert names_in(script).used == frozenset(used.split())


def test_deep_nesting_is_not_read() -> None:
    assert "X" in names_in("echo " + "$(echo " * 5000 + "$X" + ")" * 5000).used


FRAGMENTS = [
    "X=own",
    "X=$X$X",
    "X=${X:-none}",
    "echo $X",
    "echo ${X:-none}",
    'echo "<$X>"',
    "echo $((X + 1))",
    "export X; env | grep '^X='",
    "printenv X",
    "unset X",
    "read X <<END\ntext\nEND",
    "cat <<END\n$X\nX=1\nEND",
    "echo own | read X",
    "(X=own; echo $X)",
    "false && X=own",
    "true || X=own",
    "if false; then X=own; fi",
    "if read X < /dev/null; then :; fi",
    "case a in b) X=own ;; esac",
    "for X in; do :; done",
    "while false; do X=own; done",
    "f() { X=own; }",
    "X=own true",
    "X=own :",
    "{ X=own; }",
    "{ X=own; } | cat",
    "X=own & wait",
    "n=X; echo $(($n + 1))",
    "eval 'echo $X'",
    'eval "X=own"',
    "n=X; export $n; printenv X",
    "# X=own",
    "echo '\nX=own\n'",
]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from(["\n", "; ", " && ", " || "])),
        max_size=5,
    )
)
@example([("false", "\n"), ("X=own", "\n")])
def test_a_variable_that_changes_a_shell_s_output_is_used(parts: list[tuple[str, str]]) -> None:
    """If a script prints different text for two values of X or without X, X is an input."""
    script = ""
    for fragment, separator in parts:
        script += fragment + (
            "\n" if "<<" in fragment or fragment[0] == "#" or "&" in fragment else separator
        )
    script += ":"
    printed = {run(script, value) for value in ("1", "2", None)}
    if len(printed) > 1:
        assert "X" in names_in(script).used, script


def run(script: str, value: str | None) -> bytes:
    prefix = f"X={value}\n" if value else ""
    return subprocess.run(
        ["sh", "-c", prefix + script], capture_output=True, env={"PATH": "/usr/bin:/bin"}
    ).stdout
