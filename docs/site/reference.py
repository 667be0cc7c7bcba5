"""Pages of the reference that are read from the code: settings, profiles, commands, exit codes, files, environment."""

from __future__ import annotations

import argparse
import html
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import environment
import files

from hpcdistill import errors
from hpcdistill.__main__ import __doc__ as main_doc
from hpcdistill.__main__ import build_parser
from hpcdistill.cluster.profile import Profile
from hpcdistill.config import config_class
from hpcdistill.method import own_methods
from hpcdistill.schema import all_keys, toml_value


@cache
def pages(root: Path) -> dict[str, str]:
    """Return the pages' Markdown by the names of their files."""
    return {
        "settings.md": _settings(),
        "profile.md": _profile(),
        "commands.md": _commands(),
        "exit-codes.md": _exit_codes(),
        "environment.md": environment.page(root),
        "hdf5.md": files.page(),
    }


def _settings() -> str:
    return (
        "# Settings\n\nA configuration is a TOML file. Each key has a default; a file says only what differs. On the "
        "command line `--set SECTION.KEY=VALUE` overrides a key. A wrong key is answered with the right ones. The "
        "resolved configuration is stored in every checkpoint.\n\nThis page is made from `hpcdistill/config.py` and "
        "the settings of each method.\n\n" + "\n".join(_tables(config_class(own_methods())))
    )


def _profile() -> str:
    return (
        "# Cluster profiles\n\nA profile is a TOML file that says what a cluster wants: "
        "`hpcdistill submit CONFIG.toml --profile PROFILE.toml`. [Run on a cluster](../how-to/cluster.md) says how to "
        "write one; `slurm/cpu.toml`, `slurm/gpu.toml` and `slurm/laptop.toml` are examples.\n\nThis page is made from "
        "`hpcdistill/cluster/profile.py`.\n\n" + "\n".join(_tables(Profile))
    )


def _tables(schema: type) -> Iterator[str]:
    """Yield a table of keys for each section."""
    before = None
    for key, default, metadata in all_keys(schema):
        section = key.rpartition(".")[0]
        if section != before:
            yield f"\n## {f'[{section}]' if section else 'Top level'} {{ #{section or 'top'} }}\n"
            yield "| key | default | meaning |\n|---|---|---|"
            before = section
        yield f"| `{key}` | `{toml_value(default)}` | {_cell(metadata['help'])}{_valid(metadata)} |"


def _valid(metadata: Any) -> str:
    if metadata["choices"]:
        return f". One of {', '.join(f'`{choice}`' for choice in metadata['choices'])}"
    bounds = [f"{what} {bound:g}" for what, bound in metadata["bounds"].items()]
    return f". {' and '.join(bounds).capitalize()}" if bounds else ""


def _commands() -> str:
    parser = build_parser()
    lines = ["# Commands\n\nThis page is made from the parsers of the commands.\n"]
    for name, command in _subparsers(parser).items():
        lines += _command(f"hpcdistill {name}", command, 2)
    return "\n".join(lines)


def _command(name: str, parser: argparse.ArgumentParser, level: int) -> list[str]:
    lines = [f"{'#' * level} {name}\n", _description(parser.description or "")]
    others = argparse._HelpAction | argparse._SubParsersAction
    arguments = [one for one in parser._actions if not isinstance(one, others)]
    if arguments:
        lines += ["| argument | meaning | default |", "|---|---|---|"]
        lines += [f"| `{_invocation(one)}` | {_cell(one.help or '')} | {_default(one)} |" for one in arguments]
    lines.append("")
    for sub, child in _subparsers(parser).items():
        lines += _command(f"{name} {sub}", child, level + 1)
    return lines


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def _description(text: str) -> str:
    """Return a description as Markdown: what is indented in it are commands."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return (
        "\n\n".join(
            f"```bash\n{textwrap.dedent(block)}\n```" if block.startswith("  ") else _escaped(block) for block in blocks
        )
        + "\n"
    )


def _invocation(action: argparse.Action) -> str:
    name = action.option_strings[0] if action.option_strings else ""
    value = "" if action.nargs == 0 else str(action.metavar or "|".join(action.choices or []) or action.dest.upper())
    more = {"+": " …", "*": " …", "?": ""}.get(str(action.nargs), "")
    return f"{name} {value}{more}".strip().replace("|", "\\|")


def _default(action: argparse.Action) -> str:
    if action.nargs == 0 or action.default in (None, [], "", argparse.SUPPRESS):
        return ""
    value = action.default
    return f"`{' '.join(map(str, value)) if isinstance(value, list) else value}`"


def _exit_codes() -> str:
    codes = re.search(r"Exit codes: (.+?)\.\n", main_doc + "\n", re.DOTALL)
    rows = [part.strip().split(" ", 1) for part in " ".join(codes[1].split()).split(" · ")]
    lines = ["# Exit codes and errors\n", "A batch system learns from the code whether trying again can help.\n",
             "| code | meaning | errors that end with it |", "|---|---|---|"]  # fmt: skip
    base = errors.HpcDistillError
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, base)]
    for code, meaning in rows:
        names = [f"[`{one.__name__}`](#{one.__name__.lower()})" for one in classes if str(one.exit_code) == code]
        lines.append(f"| {code} | {meaning} | {', '.join(names)} |")
    lines.append("\nPython programs get these as exceptions, from `hpcdistill.errors`. Each message is one line that "
                 "says what was wrong, where, and what to do.\n")  # fmt: skip
    for one in classes:
        kind = f" A `{one.__bases__[0].__name__}`." if one is not base else ""
        first = " ".join((one.__doc__ or "").split("\n\n")[0].split())
        lines.append(f"### {one.__name__}\n\n{_escaped(first)}{kind} Exit code {one.exit_code}.\n")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|").replace("%%", "%")


def _escaped(text: str) -> str:
    """Return text of a help as Markdown: `code` stays, what HTML or emphasis would be made of does not."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, False)) for part in parts
    )
