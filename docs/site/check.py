"""Check links: of a built site, which must load nothing from the network, and of the Markdown that is read without it.

usage: python docs/site/check.py SITE
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
MARKDOWN = ("README.md", "CHANGELOG.md", "jobs/results/README.md")
#: What a browser fetches by itself, by element and attribute.
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href")}


class Links(HTMLParser):
    """What a page loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.is_of_theme = "md-main" in text
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        for name, value in given.items():
            if (tag, name) in LOADED and value and given.get("rel") not in ("canonical", "prev", "next"):
                self.loaded.append(value)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


@cache
def page(path: Path) -> Links:
    """Return the links of a file of the site."""
    return Links(path.read_text())


def broken_on_site(site: Path):
    """Yield what is wrong with the pages of a site."""
    for path in sorted(site.rglob("*.html")):
        if not page(path).is_of_theme or path.name == "404.html":  # an attachment; a page of no fixed place
            continue
        name, links = path.relative_to(site), page(path)
        for target in links.loaded:
            if urlsplit(target).netloc:
                yield f"{name} loads {target}"
        for target in {*links.links, *links.loaded}:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.is_file():
                yield f"{name}: no such file: {target}"
            elif parts.fragment and file.suffix == ".html" and unquote(parts.fragment) not in page(file).anchors:
                yield f"{name}: no such place: {target}"
    for path in site.rglob("*.css"):
        for target in re.findall(r"url\(['\"]?(https?:[^)'\"]+)|@import\s+['\"](https?:[^'\"]+)", path.read_text()):
            yield f"{path.relative_to(site)} loads {''.join(target)}"


def anchors_of_markdown(text: str) -> set[str]:
    """Return the anchors that forges make of headings."""
    headings = re.findall(r"^#+ (.+?)(?: \{.*\})?$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_in_markdown(root: Path):
    """Yield the links of Markdown files that lead nowhere in the repository."""
    for name in MARKDOWN:
        path = root / name
        text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = target.partition("#")
            if "://" in target:
                continue
            found = path.parent / file if file else path
            if not found.exists():
                yield f"{name}: no such file: {target}"
            elif anchor and anchor not in anchors_of_markdown(found.read_text()):
                yield f"{name}: no such heading: {target}"


def main() -> int:
    wrong = [*broken_on_site(Path(sys.argv[1])), *broken_in_markdown(ROOT)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
