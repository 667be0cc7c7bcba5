"""MkDocs calls this: pages that are made from the code and from jobs/results/README.md join those in docs/."""

import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import reference
import results

ROOT = Path(__file__).parents[2]


def on_config(config):
    """Give the section of results its pages."""
    section = next(entry for entry in config.nav if "Results" in entry)
    section["Results"] = [f"results/{page.name}" if not page.title else {page.title: f"results/{page.name}"}
                          for page in results.pages(ROOT)]  # fmt: skip
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
