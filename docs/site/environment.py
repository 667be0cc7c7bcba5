"""The page of environment variables: meanings are in environment.toml, and all that the code names must be there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_NAMED = re.compile(r"\bHPCDISTILL_[A-Z_]+\b")
_SOURCES = ("hpcdistill/**/*.py", "jobs/*.sh", "slurm/*", "CMakeLists.txt")


def page(root: Path) -> str:
    """Return the page's Markdown; `ValueError` where a variable of the code has no meaning here, or the reverse."""
    groups = tomllib.loads((root / "docs/site/environment.toml").read_text())
    told = {name for group in groups.values() for name in group["variables"]}
    named = {name for source in _SOURCES for path in root.glob(source) if path.is_file()
             for name in _NAMED.findall(path.read_text())}  # fmt: skip
    if wrong := named ^ {name for name in told if name.startswith("HPCDISTILL_")}:
        raise ValueError(f"docs/site/environment.toml and the code differ in {', '.join(sorted(wrong))}")
    lines = ["# Environment variables\n"]
    for group in groups.values():
        lines += [f"## {group['title']}\n", f"{group['text']}\n", "| variable | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {text} |" for name, text in group["variables"].items()]
        lines.append("")
    return "\n".join(lines)
