"""Count phrases that make prov's prose hard to read, and check its errors and hints.

`python -m tests.prose` prints the counts; `--list PHRASE` prints the sentences.
"""
