"""Tutorials are run as they are printed, in a folder with the checkout's jobs and slurm, and print what they say.

A page's blocks run in order: shell in a shell of its own each, Python in one session, TOML with a title is written to
that file. A `text` block after them says lines that they print, with … for what differs from machine to machine.
"""

import os
import re
import subprocess
import sys

import documents
import pytest

TUTORIALS = sorted((documents.ROOT / "docs/tutorials").glob("*.md"))
#: A session of Python that reads blocks from standard input, and ends each one's output with a line of its own.
SESSION = r"""
import sys
names = {"__name__": "__main__"}
for length in iter(sys.stdin.readline, ""):
    exec(compile(sys.stdin.read(int(length)), "tutorial", "exec"), names)
    print("\0", flush=True)
"""


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.printed = folder, ""
        self.environment = os.environ | {"HPCDISTILL_STATE": str(folder / "state"), "MPLBACKEND": "agg"}
        self.python = subprocess.Popen([sys.executable, "-c", SESSION], cwd=folder, env=self.environment, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def do(self, block):
        if block.language == "toml" and block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "bash" and block.runs:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=self.folder, env=self.environment,
                                  text=True, capture_output=True)  # fmt: skip
            assert done.returncode == 0, f"{block.text}\n{done.stdout}{done.stderr}"
            self.printed = done.stdout
        elif block.language == "python":
            self.python.stdin.write(f"{len(block.text)}\n{block.text}")
            self.python.stdin.flush()
            lines = []
            while (line := self.python.stdout.readline()) != "\0\n":
                assert line, block.text  # the session has ended
                lines.append(line)
            self.printed = "".join(lines)
        elif block.language == "text":
            self.check(block.text)

    def check(self, told):
        for line in told.splitlines():
            pattern = ".*".join(re.escape(part) for part in re.split("…", line.strip()))
            assert re.search(pattern, self.printed), f"{line!r} is not in\n{self.printed}"

    def leave(self):
        self.python.stdin.close()
        self.python.wait()


@pytest.fixture
def reader(tmp_path):
    somebody = Reader(tmp_path)
    yield somebody
    somebody.leave()


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial(page, reader):
    for name in ("jobs", "slurm"):
        (reader.folder / name).symlink_to(documents.ROOT / name)
    for block in documents.blocks(page.read_text()):
        if "jobs/setup.sh" not in block.text:
            reader.do(block)


def test_readme_python():
    """The five lines of the README do something useful."""
    (block,) = [b for b in documents.blocks((documents.ROOT / "README.md").read_text()) if b.language == "python"]
    done = subprocess.run([sys.executable, "-c", block.text], text=True, capture_output=True, check=True)
    assert 0.7 < float(done.stdout.split()[-1]) <= 1


WRONG = [documents.Block("bash", "", "false\n", True), documents.Block("text", "", "2\n", True),
         documents.Block("python", "", "1/0\n", True)]  # fmt: skip


@pytest.mark.parametrize("block", WRONG, ids=lambda block: block.language)
def test_a_reader_notices(block, reader):
    """Tests of tutorials can fail: on a wrong exit code, a wrong output, an exception."""
    reader.do(documents.Block("bash", "", "echo 1\n", True))
    with pytest.raises(AssertionError):
        reader.do(block)
