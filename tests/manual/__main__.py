"""Write the manual pages to docs/man/man1/."""

from __future__ import annotations

from . import MAN, sources


def main() -> None:
    """Write the pages of the current help; delete all others."""
    MAN.mkdir(parents=True, exist_ok=True)
    written = sources()
    for path in MAN.glob("*.1"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (MAN / name).write_text(text)


if __name__ == "__main__":
    main()
