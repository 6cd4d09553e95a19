"""Writes benchmark results into a page of docs/, between two marker comments."""

from __future__ import annotations

from pathlib import Path


def replace_section(page: Path, name: str, text: str) -> None:
    """Replaces the text between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; the markers remain.

    Args:
        page: A Markdown file with both markers.
        name: Name of the benchmark, as in the markers.
        text: The new text.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = page.read_text(encoding="utf-8")
    before, after = content.split(begin)[0], content.split(end)[1]
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
