"""Markdown pages as tests see them: fenced blocks, commands, options, paths, settings, defaults."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title ("" without), its text, and whether tests run it."""

    language: str
    title: str
    text: str
    runs: bool


def pages() -> list[Path]:
    """Return the pages that people read."""
    written = [*ROOT.glob("docs/**/*.md")]
    return [ROOT / "README.md", ROOT / "jobs/results/README.md", *sorted(written)]


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for head, body in _FENCE.findall(text):
        language = re.match(r"[\s{.]*(\w*)", head)[1]
        title = re.search(r'title="([^"]+)"', head)
        found.append(Block(language, title[1] if title else "", body, ".no-test" not in head))
    return found


def without_blocks(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def code_of(text: str) -> str:
    """Return what is code in a page: its blocks, and what stands in backticks."""
    spans = re.findall(r"`[^`\n]+`", without_blocks(text))
    return "\n".join([*(block.text for block in blocks(text)), *spans])


_LAUNCHED = r"(?:[A-Z_]+=\S+ )*(?:(?:mpirun|mpiexec|srun)\b[^`\n]*? )?"


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `hpcdistill …` that begins a line or stands in backticks, quotes resolved."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for found in re.finditer(rf"(?:^[ \t]*|`){_LAUNCHED}hpcdistill ([a-z][^`\n|]*)", joined, re.MULTILINE):
        line = re.split(r"\s#\s|\s#$| && |; ", found[1])[0]
        try:
            yield shlex.split(line)
        except ValueError:  # an apostrophe of the sentence around it
            yield line.split()


def parser_of(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of a command, and of its sub-command, and the words that are left for it."""
    while words and (choices := subparsers(parser)):
        if words[0] not in choices:
            raise ValueError(f"no command {words[0]!r}")
        parser, words = choices[words[0]], words[1:]
    return parser, words


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the sub-commands of a parser by name."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of all its sub-commands."""
    yield parser
    for child in subparsers(parser).values():
        yield from all_parsers(child)


def paths(text: str) -> set[str]:
    """Return the paths of this repository that a text names, upper-case words as patterns: `jobs/paper/*/*.toml`."""
    found = re.findall(r"(?<![\w./~$-])((?:jobs|slurm|tests|docs|hpcdistill)/[\w.*/-]*[\w*/])", text)
    return {re.sub(r"\b[A-Z]{2,}\b", "*", path) for path in found}


def settings(text: str) -> set[tuple[str, str]]:
    """Return (section.key, value) of each `--set` and `--sweep` with a value."""
    return set(re.findall(r"--(?:set|sweep)[ =]'?([a-z_]+(?:\.[a-z_]+)?)=([^\s`'\"]+)", text))


def keys(text: str) -> set[str]:
    """Return what looks like a key of a configuration in `code`: `kip.steps`, `kip.steps = 20`."""
    return set(re.findall(r"`([a-z_]+\.[a-z_]+)(?: ?= ?[^`]*)?`", text))


def defaults(text: str) -> set[tuple[str, str]]:
    """Return (key or option, value) where a page says `key` (default: `value`)."""
    return set(re.findall(r"`(-?-?[a-z_.-]+)` \(default: `([^`]+)`\)", text))
