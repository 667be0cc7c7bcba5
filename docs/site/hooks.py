"""MkDocs calls this: pages that are made from the code and from jobs/results/README.md join those in docs/."""

import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import reference
import results

ROOT = Path(__file__).parents[2]


def on_config(config):
    """Give each section the pages of its folder that the navigation leaves out, and that of results its own."""
    sections = [pages for entry in config.nav for pages in entry.values() if isinstance(pages, list)]
    for pages in sections:
        named = [path for page in pages for path in (page.values() if isinstance(page, dict) else [page])]
        folder = Path(named[0]).parent if named else Path("results")
        written = (path.relative_to(ROOT / "docs") for path in sorted(ROOT.glob(f"docs/{folder}/*.md")))
        pages += [str(path) for path in written if str(path) not in named]
    next(pages for pages in sections if not pages).extend(
        {page.title: f"results/{page.name}"} if page.title else f"results/{page.name}" for page in results.pages(ROOT)
    )
    return config


def on_files(files, config):
    """Add the pages, and the files that pages of results refer to."""
    for name, content in reference.pages(ROOT).items():
        files.append(File.generated(config, f"reference/{name}", content=content))
    for page in results.pages(ROOT):
        files.append(File.generated(config, f"results/{page.name}", content=page.content))
    for path in results.attachments(ROOT):
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files
