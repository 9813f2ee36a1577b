"""Print the number of each phrase in 10,000 words of each kind of text."""

from __future__ import annotations

import argparse

from .phrases import PHRASES, phrase_counts, rate, sentences, word_counts
from .texts import all_texts

KINDS = ("docs", "help", "docstrings", "comments")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", choices=PHRASES, metavar="PHRASE", help="print its sentences")
    options = parser.parse_args()
    texts = list(all_texts())
    if options.list:
        print(*sentences(texts, options.list), sep="\n")
        return
    words = word_counts(texts)
    counts = phrase_counts(texts)
    print(f"{'':20}", *(f"{kind:>10}" for kind in KINDS))
    print(f"{'words':20}", *(f"{words[kind]:10}" for kind in KINDS))
    for name in PHRASES:
        rates = [rate(counts[kind, name], words[kind]) for kind in KINDS]
        print(f"{name:20}", *(f"{value:10.1f}" for value in rates))


if __name__ == "__main__":
    main()
