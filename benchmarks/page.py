"""Puts what a benchmark found into a page of docs/, between two marks that stay there."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, name: str, lines: str) -> None:
    """Replaces what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Args:
        page: A Markdown file that has the two marks.
        name: The benchmark's.
        lines: What to write.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{lines}\n{end}{after}", encoding="utf-8")
