"""Run a command on a terminal of its own, and draw what stands on it in the middle of the work.

usage: python docs/pictures/terminal.py FILE.svg COMMAND …
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 110, 24
#: Lines that tell that it is the middle: the picture is of a moment after this one.
MIDDLE = b"step 40: "
#: Rich's frame without its fonts, which it would load from the network.
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def screens(command):
    """Run a command; return what it has written up to a while after `MIDDLE`, and let it end."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written, middle = b"", None
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the command has ended
            part = b""
        if not part:
            break
        written += part
        if middle is None and MIDDLE in written:
            middle = len(written) + 600
    os.waitpid(child, 0)
    text = written[:middle].decode(errors="ignore")
    return text[: text.rindex("\r\x1b[2K")] if "\r\x1b[2K" in text else text


def visible(text):
    """Return the lines as they stand: with cursors that went up, and lines that were erased."""
    lines, row = [""], 0
    for part in re.split(r"(\n|\r|\x1b\[\d*A|\x1b\[2K|\x1b\[\?25[lh])", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part != "\r" and not part.startswith("\x1b[?"):
            lines[row] += part
    return [line for line in lines if line.strip()]


command = sys.argv[2:]
lines = visible(screens(command))
console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
console.print(Text(f"$ {' '.join(command)}"))
for line in lines:
    console.print(Text.from_ansi(line))
Path(sys.argv[1]).write_text(console.export_svg(title="", code_format=FRAME, unique_id="terminal"))
print("\n".join(lines))
