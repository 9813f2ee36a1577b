"""Parse meson-log.txt, which contains a line for each result of a check."""

from __future__ import annotations

import re

from prov.reads.buildfiles.lookup import ConfigureCheck, Subject

_FORMS = (
    (Subject.PKG_CONFIG, re.compile(r"(?:Run|Build)-time dependency (\S+) found: (YES|NO)\b.*")),
    (Subject.PKG_CONFIG, re.compile(r"Dependency (\S+) found: (YES|NO)\b.*")),
    (Subject.LIBRARY, re.compile(r"Library (\S+) found: (YES|NO)\b.*")),
    (Subject.PROGRAM, re.compile(r"Program (\S+) found: (YES|NO)\b.*")),
    (Subject.HEADER, re.compile(r'(?:Has header|Check usable header) "([^"]+)" : (YES|NO)\b.*')),
    (Subject.HEADER, re.compile(r'Header "([^"]+)" has symbol "[^"]*" : (YES)\b.*')),
)


def parse_meson_log(data: bytes) -> list[ConfigureCheck]:
    """Return what a Meson project looked for, sorted."""
    lookups = set()
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        for subject, form in _FORMS:
            match = form.fullmatch(line)
            if match is not None:
                lookups.add(ConfigureCheck(subject, match[1], match[2] == "YES"))
    return sorted(lookups)
