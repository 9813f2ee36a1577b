"""Which variables a shell script uses, found by reading it.

A script's own variables are no inputs: after `X=`, `read X` or `unset X` that is sure to run, X is
the script's. Every other use of a name counts, one that may not run included: `$X`, `${X:-…}`,
arithmetic, `export X`, here-documents. A script that can't be read, or makes up names as it runs
(`eval`, `export $X`, `$(($X + 1))`), is taken to use every word in it that may be a name.

The reader knows the shell's words and quotes, and of its grammar what decides whether a command is
sure to run. (Source: POSIX.1-2017, Shell Command Language, 2.2 to 2.10.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

MOST_NESTED = 40
"""Constructs inside each other: a script with more is not read."""
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME = re.compile(NAME)
_ASSIGNMENT = re.compile(rf"({NAME})\+?=")
_ASSIGNED_TO = re.compile(rf"(?<!\w)((?>{NAME}))(?!\w)\s*+[-+*/%&|^]?=(?!=)")
_MENTIONED = re.compile(rf"\$\{{?[#!]?({NAME})")
_PLAIN = re.compile(r"[^ \t\n\r\f\v\\'\"`$;&|()<>#]+")
_PLAIN_IN_QUOTES = re.compile(r"[^\\\"`$]+")
_PLAIN_IN_BRACES = re.compile(r"[^\\'\"`$}]+")
_BACKQUOTED = re.compile(r"`((?:\\.|[^\\`])*)`", re.DOTALL)
_DOLLAR_QUOTED = re.compile(r"\$'(?:\\.|[^\\'])*'", re.DOTALL)
_PARAMETER = re.compile(rf"\$\{{[#!]?({NAME})?")
_OPTIONAL = re.compile(r":?[-=?+]")
_OPERATOR = re.compile(r"\n|;;&?|;&|&&|\|\||<<-?|<>|>>|>\||[<>]&|[;&|()<>]")
_REDIRECTIONS = frozenset(("<", ">", ">>", ">|", "<>", "<&", ">&"))
_DOCUMENTS = frozenset(("<<", "<<-"))
_BRANCH_ENDS = (";;", ";&", ";;&", "esac")
_RESERVED = frozenset(("then", "do", "else", "elif", "fi", "done", "esac", "}"))
_DECLARING = frozenset(("export", "readonly", "local", "declare", "typeset"))
_SETTING = frozenset(("unset", "read", "getopts", "mapfile", "readarray"))
_TESTING = frozenset(("[", "test"))
_NAMING = frozenset(("printenv", "[[", "let"))
"""Commands to which a name is a variable's without a dollar."""
_EVALUATING = frozenset(("eval", ".", "source", "trap"))


@dataclass(frozen=True, slots=True)
class Names:
    """What a script does with names."""

    used: frozenset[str]
    """Names whose value it uses, except for those that it has set itself by then."""
    words: frozenset[str]
    """Every word outside comments; some may be names of functions."""
    needed: frozenset[str] = frozenset()
    """Names that it uses where an unset one stops the shell (`set -u`)."""
    assigned: frozenset[str] = frozenset()
    """Names that it may set, or whose absence it provides for."""
    readable: bool = True
    """All that it runs was read: it sources no file and evaluates no text."""


class _UnreadableError(Exception):
    """The script is not one that the reader understands."""


@lru_cache(maxsize=4096)
def names_in(script: str) -> Names:
    """Return what a script does with names."""
    reader = _Reader(script)
    try:
        reader.commands(("",))
    except _UnreadableError:
        every = frozenset(_NAME.findall(script))
        return Names(every, every, readable=False)
    own: set[str] = set()
    used: set[str] = set()
    for name, is_set in reader.events:
        if is_set:
            own.add(name)
        elif name not in own:
            used.add(name)
    words = frozenset(_NAME.findall("".join(reader.code)))
    if reader.evaluates or reader.makes_up_names:
        used |= words
    return Names(
        frozenset(used),
        words,
        frozenset(reader.needed),
        frozenset(reader.assigned),
        readable=not reader.evaluates,
    )


@dataclass(slots=True)
class _Word:
    """One word: its text without quotes and expansions, and whether any of it was quoted."""

    text: str = ""
    quoted: bool = False
    expands: bool = False
    """There are expansions in it."""


@dataclass(slots=True)
class _Reader:
    """Reads a script once, from its beginning to its end."""

    script: str
    at: int = 0
    events: list[tuple[str, bool]] = field(default_factory=list)
    """(name, whether it is set for sure; else it is used), in the order in which they happen."""
    needed: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    code: list[str] = field(default_factory=list)
    """The script without its comments."""
    evaluates: bool = False
    """It sources files or evaluates texts."""
    makes_up_names: bool = False
    _nesting: int = 0
    _depth: int = 0
    """How many constructs are open that may not run, or run in a process of their own."""
    _arithmetic_to: int = 0
    """Up to where every name counts as used, since it may be in an arithmetic command."""
    _documents: list[tuple[str, bool, bool]] = field(default_factory=list)
    """Here-documents that begin with the next line: end, whether tabs are stripped, whether it is
    expanded.
    """

    # commands

    def commands(self, ends: tuple[str, ...]) -> str:
        """Read commands up to one of these operators or reserved words ("": the end of the script);
        return it.
        """
        self._nesting += 1
        if self._nesting > MOST_NESTED:
            raise _UnreadableError
        end = self._commands(ends)
        self._nesting -= 1
        return end

    def _commands(self, ends: tuple[str, ...]) -> str:
        words: list[_Word] = []
        chained = False  # by && or || or a pipe to a command before
        begun = len(self.events)
        while True:
            operator = self._next(words)
            if operator is None:
                if len(words) == 1 and not words[0].quoted:
                    if words[0].text in ends:
                        return words[0].text
                    self._reserved(words)
                continue
            if operator == "(":
                if words:
                    raise _UnreadableError
                self._subshell()
                continue
            self._finish(words)
            if chained or operator in (
                "|",
                "&",
            ):  # it may not run, or sets variables of another process
                self.events[begun:] = [event for event in self.events[begun:] if not event[1]]
            if operator in ends:
                return operator
            if operator in ("", ")") or operator in _BRANCH_ENDS:
                raise _UnreadableError
            chained = operator in ("&&", "||", "|") or (chained and not words)
            words, begun = [], len(self.events)

    def _next(self, words: list[_Word]) -> str | None:
        """Read a word, which is added to `words`, or return the operator that comes instead; "" at
        the end.
        """
        while True:
            self._blanks()
            if self.at >= len(self.script):
                return ""
            match = _OPERATOR.match(self.script, self.at)
            if match is None:
                words.append(self._word())
                return None
            operator = self._take(match.end())
            if operator in _DOCUMENTS:
                self._blanks()
                delimiter = self._word()
                self._documents.append((delimiter.text, operator == "<<-", not delimiter.quoted))
            elif operator in _REDIRECTIONS:
                self._blanks()
                self._word()  # a file name: its expansions are uses, and it is not an argument
            elif operator == "(" and len(words) == 1 and _NAME.fullmatch(words[0].text):
                words.clear()
                self._function()
            else:
                if operator == "\n":
                    self._read_documents()
                return operator

    def _reserved(self, words: list[_Word]) -> None:
        """Read the construct that a reserved word begins, if the only word of a command is one."""
        word = words[0].text
        if word in _RESERVED:
            raise _UnreadableError
        if word in ("!", "time"):
            words.clear()
        elif word == "{":
            words.clear()
            self.commands(("}",))
        elif word in ("while", "until"):
            words.clear()
            self.commands(("do",))
            self._inside(("done",))
        elif word == "if":
            words.clear()
            self.commands(("then",))
            while self._inside(("elif", "else", "fi")) != "fi":
                pass
        elif word == "case":
            words.clear()
            self._case()
        elif word in ("for", "select"):
            words.clear()
            self._for()

    def _inside(self, ends: tuple[str, ...]) -> str:
        """Read commands that may not run, or that run in a process of their own."""
        self._depth += 1
        end = self.commands(ends)
        if end == "elif":
            self.commands(("then",))
        self._depth -= 1
        return end

    def _subshell(self) -> None:
        # bash's arithmetic, or a subshell in a subshell; what is looked at for the one need not be
        # for the next
        if self.script.startswith("(", self.at) and self.at >= self._arithmetic_to:
            end = self.script.find("))", self.at)
            self._arithmetic_to = len(self.script) if end < 0 else end
            self._use(*_NAME.findall(self.script[self.at : self._arithmetic_to]))
        self._inside((")",))

    def _function(self) -> None:
        """Read a function from behind its `(`: its body runs when it is called, if ever."""
        self._blanks()
        if not self.script.startswith(")", self.at):
            raise _UnreadableError
        self._take(self.at + 1)
        self._blanks()
        while self.script.startswith("\n", self.at):
            self._take(self.at + 1)
            self._blanks()
        opener = self.script[self.at : self.at + 1]
        if opener not in ("{", "("):
            raise _UnreadableError
        self._take(self.at + 1)
        self._inside(("}",) if opener == "{" else (")",))

    def _for(self) -> None:
        """Read the rest of `for` or `select`; the body may not run."""
        self._blanks()
        self.assigned.add(self._word().text)
        words: list[_Word] = []
        while not (words and words[-1].text == "do" and not words[-1].quoted):
            operator = self._next(words)
            if operator not in (None, ";", "\n"):
                raise _UnreadableError
        self._inside(("done",))

    def _case(self) -> None:
        """Read the rest of `case`; no branch may run."""
        words: list[_Word] = []
        while not (words and words[-1].text == "in"):
            if self._next(words) not in (None, "\n"):
                raise _UnreadableError
        end = ""
        while end != "esac":
            words = []
            operator = self._next(words)
            while operator in ("\n", "("):
                operator = self._next(words)
            if words and words[0].text == "esac" and not words[0].quoted:
                return
            while operator in (None, "|"):
                operator = self._next(words)
            if operator != ")":
                raise _UnreadableError
            end = self._inside(_BRANCH_ENDS)

    def _finish(self, words: list[_Word]) -> None:
        """Note which names a simple command sets, and which it uses without a dollar."""
        texts = [word.text for word in words]
        expands = any(word.expands and "=" not in word.text for word in words[1:])
        own = []
        while texts and (match := _ASSIGNMENT.match(texts[0])):
            own.append(match[1])
            texts.pop(0)
        self.assigned.update(own)
        if not texts:
            self._set(own)
            return
        command, *arguments = texts
        if expands and (command in _DECLARING or command in _NAMING):
            self.makes_up_names = True
        if command in _EVALUATING:
            self.evaluates = True
        elif command in _DECLARING:
            self._declare(arguments)
        elif command in _SETTING:
            self._set([text for text in arguments if _NAME.fullmatch(text)])
        elif command == "printf" and arguments[:1] == ["-v"]:
            self._set(arguments[1:2])
        elif command in _NAMING or (command in _TESTING and "-v" in arguments):
            for text in arguments:
                self._use(*_NAME.findall(text))

    def _declare(self, arguments: list[str]) -> None:
        for text in arguments:
            assignment = _ASSIGNMENT.match(text)
            if assignment:
                self._set([assignment[1]])
            elif _NAME.fullmatch(text):
                self._use(text)
                self.assigned.add(text)  # `local X` may be all that there is of it

    def _set(self, names: list[str]) -> None:
        self.assigned.update(names)
        if self._depth == 0:
            self.events += [(name, True) for name in names]

    def _use(self, *names: str) -> None:
        self.events += [(name, False) for name in names]

    # words

    def _take(self, end: int) -> str:
        """Return the code up to a place, which is the next to be read."""
        text = self.script[self.at : end]
        self.at += len(text)
        self.code.append(text)
        return text

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.script, self.at)
        if match is None:
            raise _UnreadableError
        self._take(match.end())
        return match

    def _blanks(self) -> None:
        """Pass over blanks, continued lines, and a comment."""
        while self.at < len(self.script):
            if self.script[self.at] in " \t\r\f\v":
                self._take(self.at + 1)
            elif self.script.startswith("\\\n", self.at):
                self.at += 2
            elif self.script[self.at] == "#":
                end = self.script.find("\n", self.at)
                self.at = len(self.script) if end < 0 else end
            else:
                return

    def _word(self) -> _Word:
        word, start = _Word(), self.at
        while self.at < len(self.script):
            char = self.script[self.at]
            plain = _PLAIN.match(self.script, self.at)
            if plain:
                word.text += self._take(plain.end())
            elif char == "#":
                word.text += self._take(self.at + 1)
            elif char == "\\":
                word.text += self._escaped().removesuffix("\n")
                word.quoted = True
            elif char == "'":
                word.text += self._single()
                word.quoted = True
            elif char == '"':
                self._take(self.at + 1)
                begun = self.at
                word.text += self._double('"')
                word.quoted = True
                word.expands = word.expands or "$" in self.script[begun : self.at]
            elif char in "$`":
                word.text += self._expansion()
                word.expands = True
            else:
                break
        if self.at == start:
            raise _UnreadableError
        return word

    def _escaped(self) -> str:
        """Read a backslash and what follows it; an escaped dollar may be for a second reading, as
        by `eval`.
        """
        mention = _MENTIONED.match(self.script, self.at + 1)
        if mention:
            self._use(mention[1])
        return self._take(self.at + 2)[1:]

    def _single(self) -> str:
        """Read text in single quotes: what it mentions may still be expanded, as by `eval`."""
        end = self.script.find("'", self.at + 1)
        if end < 0:
            raise _UnreadableError
        text = self._take(end + 1)[1:-1]
        self._use(*_MENTIONED.findall(text))
        return text

    def _double(self, end: str) -> str:
        """Read text as in double quotes up to a quote, or, with no `end`, up to the end of the
        script.
        """
        text = ""
        while self.at < len(self.script):
            char = self.script[self.at]
            plain = _PLAIN_IN_QUOTES.match(self.script, self.at)
            if plain:
                text += self._take(plain.end())
            elif char == '"':
                self._take(self.at + 1)
                if end:
                    return text
            elif char == "\\":
                text += self._escaped()
            else:
                text += self._expansion()
        if end:
            raise _UnreadableError
        return text

    def _expansion(self) -> str:
        """Read what begins with a dollar or a backquote; return nothing, or a dollar that is just
        one.
        """
        script = self.script
        name = _NAME.match(script, self.at + 1)
        if script[self.at] == "`":
            self._nested(re.sub(r"\\([\\`$])", r"\1", self._match(_BACKQUOTED)[1]))
        elif name:
            self._take(name.end())
            self._use(name[0])
            self.needed.add(name[0])
        elif script.startswith("$((", self.at):
            self._arithmetic()
        elif script.startswith("$(", self.at):
            self._take(self.at + 2)
            self._inside((")",))
        elif script.startswith("${", self.at):
            self._braces()
        elif script.startswith("$'", self.at):
            self._match(_DOLLAR_QUOTED)
        else:
            special = script[self.at + 1 : self.at + 2]
            if not special or special not in "0123456789@*#?-$!":
                return self._take(self.at + 1)
            self._take(self.at + 2)
        return ""

    def _nested(self, script: str, *, text: bool = False) -> None:
        """Read a script inside this one, which runs in a process of its own, or a text that is
        expanded.
        """
        reader = _Reader(script, _nesting=self._nesting + 1)
        if text:
            reader._double("")
        else:
            reader.commands(("",))
        self.events += [event for event in reader.events if not event[1]]
        self.needed |= reader.needed
        self.assigned |= reader.assigned
        self.evaluates |= reader.evaluates
        self.makes_up_names |= reader.makes_up_names

    def _braces(self) -> None:
        begun = self._match(_PARAMETER)
        name = begun[1]
        self._nesting += 1
        if self._nesting > MOST_NESTED:
            raise _UnreadableError
        self.makes_up_names |= begun[0].startswith("${!")
        if name:
            self._use(name)
            optional = _OPTIONAL.match(self.script, self.at)
            (self.assigned if optional else self.needed).add(name)
        while not self.script.startswith("}", self.at):
            char = self.script[self.at : self.at + 1]
            plain = _PLAIN_IN_BRACES.match(self.script, self.at)
            if plain:
                self._take(plain.end())
            elif char == "\\":
                self._escaped()
            elif char == '"':
                self._take(self.at + 1)
                self._double('"')
            elif (
                char == "'"
            ):  # in double quotes it quotes nothing, and else what it mentions counts as well
                self._take(self.at + 1)
            elif char:
                self._expansion()
            else:
                raise _UnreadableError
        self._take(self.at + 1)
        self._nesting -= 1

    def _arithmetic(self) -> None:
        """Read `$((…))`, in which names need no dollar; an unset one is 0, so that none is
        needed.
        """
        depth, end = 0, self.at + 1
        while end < len(self.script):
            depth += {"(": 1, ")": -1}.get(self.script[end], 0)
            end += 1
            if depth == 0:
                break
        if depth or not self.script.endswith("))", 0, end):  # a subshell in a command substitution
            self._take(self.at + 2)
            self._inside((")",))
            return
        text = self._take(end)
        self.makes_up_names |= "$" in text[1:] or "`" in text
        self._use(*_NAME.findall(text))
        self.assigned.update(_ASSIGNED_TO.findall(text))

    def _read_documents(self) -> None:
        """Read the here-documents of the line that has ended."""
        documents, self._documents = self._documents, []
        for delimiter, strips, expands in documents:
            text = ""
            while True:
                if self.at >= len(self.script):
                    raise _UnreadableError
                end = self.script.find("\n", self.at)
                line = self._take(len(self.script) if end < 0 else end + 1)
                bare = line.lstrip("\t") if strips else line
                if bare.rstrip("\n") == delimiter:
                    break
                text += line
            if expands:
                self._nested(text, text=True)
            else:
                self._use(*_MENTIONED.findall(text))
