"""Phrases that are not idiomatic English, and their number in 10,000 words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from .texts import Text

PARTICIPLE = (
    r"(?!exceed|need|seed|speed|feed|indeed)[a-z]+ed"
    r"|made|built|done|given|kept|written|known|found|taken|put|run|read|sent|lost|held|meant"
)
PHRASES = {
    "tell": r"\b(tells?|told|telling)\b",
    "say": r"\b(says?|said) (so|which|what|whether|why|of)\b",
    "who": r"\b(who|whom|whoever)\b",
    "nobody": r"\b(nobody|somebody|anybody|whichever)\b",
    "that is VERBed": rf"\b(that|which) (is|are|was|were) ({PARTICIPLE})\b",
    "is another": r"\b(is another|are others)\b",
    "is no": r"(?<!there )\b(is|are) no (?!longer|more|worse|better|such)[a-z]",
    "anew": r"\banew\b",
    "be it": r"\b(be it|be they|be there)\b",
    "need not": r"\bneeds? not\b",
    "what it gives": r"\bwhat (it|they|he) (gives?|takes?|brings?|says?|makes?|holds?|has|have)\b",
    "what is there": r"\b(what|that) is there\b",
    "of OpenEmbedded's": r"\bof [A-Z][A-Za-z]+'s(?! (?!or|and|is|that|which|in|to)[a-z])",
    "come out the same": r"\b(comes?|came) out (the same|as)\b",
    "of so many": r"\bso many\b",
    "goes": r"\b(would go|is gone|are gone)\b",
}
"""Name -> pattern."""
MOST = 3
"""Allowed number of each phrase in 10,000 words of each kind of text."""

_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PHRASES.items()}


def word_counts(texts: Iterable[Text]) -> Counter[str]:
    """Return kind -> number of words."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts[text.kind] += len(text.text.split())
    return counts


def phrase_counts(texts: Iterable[Text]) -> Counter[tuple[str, str]]:
    """Return (kind, phrase) -> number of occurrences."""
    counts: Counter[tuple[str, str]] = Counter()
    for text in texts:
        for name, pattern in _COMPILED.items():
            counts[text.kind, name] += len(pattern.findall(" ".join(text.text.split())))
    return counts


def rate(count: int, words: int) -> float:
    """Return a count per 10,000 words."""
    return 10_000 * count / max(words, 1)


def sentences(texts: Iterable[Text], name: str) -> Iterable[str]:
    """Yield `PATH:LINE: …` for each occurrence of a phrase."""
    for text in texts:
        prose = " ".join(text.text.split())
        for match in _COMPILED[name].finditer(prose):
            around = prose[max(0, match.start() - 60) : match.end() + 40]
            yield f"{text.path}:{text.line}: {around}"
