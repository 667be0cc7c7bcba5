"""Pages of results: jobs/results/README.md, a page for each of its sections."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = "jobs/results/README.md"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#]+)\)")


@dataclass(frozen=True)
class Page:
    """A page of the site: its file's name, its title in the navigation ("" for the first), its Markdown."""

    name: str
    title: str
    content: str


@cache
def pages(root: Path) -> list[Page]:
    """Return the first page, which lists the others, and those."""
    head, *sections = re.split(r"^## ", (root / SOURCE).read_text(), flags=re.MULTILINE)
    intro = head.partition("\n")[2].strip()
    parts = [section.partition("\n") for section in sections]
    listed = "\n".join(f"- [{title}]({_slug(title)}.md)" for title, _, _ in parts)
    first = Page("index.md", "", f"# Results\n\n{intro}\n\n{listed}\n")
    return [first, *(Page(f"{_slug(title)}.md", _short(title), _content(title, intro, body, root))
                     for title, _, body in parts)]  # fmt: skip


def attachments(root: Path) -> list[Path]:
    """Return the files that the sections refer to."""
    names = {name for _, name in _LINK.findall((root / SOURCE).read_text())}
    return [path for name in sorted(names) if (path := _attachment(root, name))]


def _attachment(root: Path, name: str) -> Path | None:
    path = root / "jobs/results" / name
    return path if "/" not in name and path.is_file() else None


def _content(title: str, intro: str, body: str, root: Path) -> str:
    def link(match: re.Match) -> str:
        return match[0] if _attachment(root, match[2]) else f"{match[1]} (`jobs/results/{match[2]}`)"

    text = _LINK.sub(link, body)
    note = "\n".join(f"    {line}" for line in intro.splitlines())
    return f'# {title}\n\n{text.strip()}\n\n??? note "Where this was measured, unless it says otherwise"\n{note}\n'


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _short(title: str) -> str:
    return title.partition(" (")[0]
