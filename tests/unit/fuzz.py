"""Damaged checkpoints and data files through the commands that read them: none may crash, hang, or take 1 GiB.

    python tests/unit/fuzz.py [COPIES] [--seed N]

Each command is run on each copy, in a process of its own. It must end with exit code 0 or 2, in time, within memory,
and with at most one line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import end_with

from hpcdistill.hdf5 import reader

MEMORY_BYTES, SECONDS = 1 << 30, 20
COMMANDS = {
    "checkpoint.h5": [("inspect", "{}"), ("inspect", "{}", "{}"), ("export", "{}", "--output", "x.npz"),
                      ("export", "{}", "--format", "png", "--output", "x.png"),
                      ("export", "{}", "--format", "html", "--output", "x.html")],
    "kernel.h5": [("inspect", "{}"), ("export", "{}", "--output", "x.npz")],
    "own.h5": [("prepare", "{}")],
    "own.npz": [("prepare", "{}")],
    "own.pt": [("prepare", "{}")],
    "pictures.png": [("prepare", "{}/")],
    "pictures.jpg": [("prepare", "{}/")],
    "pictures.tif": [("prepare", "{}/")],
    "pictures.webp": [("prepare", "{}/")],
}  # fmt: skip


def damaged(raw, rng):
    """Return the bytes of a file with some of them changed, as disks, transfers, or someone with bad intent do."""
    content = np.frombuffer(raw, np.uint8).copy()
    reach = min(len(content) - 8, int(rng.choice([100, 1000, 10_000, len(content)])))
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, reach))
        kind = rng.integers(0, 4)
        if kind == 0:
            content[at] ^= 1 << rng.integers(0, 8)
        elif kind == 1:
            content[at : at + 8] = rng.choice([0, 0xFF, 0x7F])
        elif kind == 2:
            at = at // 8 * 8
            content[at : at + 8] = np.frombuffer(rng.integers(0, 2**40, dtype=np.uint64).tobytes(), np.uint8)
        else:
            content[at : at + 64] = rng.integers(0, 256, len(content[at : at + 64]))
    return content[: rng.integers(1, len(content)) if rng.random() < 0.1 else None].tobytes()


def make_originals(folder):
    """Write one intact file of each kind; return them by name."""
    from reports import make_checkpoint

    from hpcdistill.io.kernel_create import create
    from hpcdistill.torch_file import write_torch

    checkpoint = make_checkpoint()
    n = len(checkpoint.arrays["support/labels"])
    more = {"support/source_index": np.arange(n), "preprocess/mean": np.zeros(3), "preprocess/std": np.ones(3),
            "preprocess/display_range": np.array([0.0, 255.0])}  # fmt: skip
    with h5py.File(folder / "checkpoint.h5", "w") as file:
        file.attrs.update(checkpoint.attributes)
        for name, array in (checkpoint.arrays | more).items():
            file[name] = array
    create(folder / "kernel.h5", (50, 50), np.dtype("f8"), 16, is_symmetric=True, attributes={"network": "FC1"},
           arrays={"row_labels": np.arange(50)})  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
    arrays = {"images": images, "labels": np.arange(30) % 3, "test_images": images[:6], "test_labels": np.arange(6) % 3}
    np.savez(folder / "own.npz", **arrays)
    with h5py.File(folder / "own.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
        file["class_names"] = ["a", "b", "c"]
    with (folder / "own.pt").open("wb") as file:
        write_torch(file, arrays)
    contents = {name: (folder / name).read_bytes() for name in COMMANDS if not name.startswith("pictures")}
    for name in COMMANDS.keys() - contents.keys():
        file = io.BytesIO()
        Image.fromarray(images[0]).resize((30, 20)).save(file, {"jpg": "jpeg", "tif": "tiff"}.get(name[9:], name[9:]))
        contents[name] = file.getvalue()
    return contents


def place(path, content):
    """Write a file; or, in place of what is named for pictures, a folder of two, of which one has this content."""
    if not path.name.endswith(("png", "jpg", "tif", "webp")):
        path.write_bytes(content)
        return
    for class_name in "ab":
        (path / class_name).mkdir(parents=True, exist_ok=True)
    (path / f"a/0{path.suffix}").write_bytes(content)
    Image.new("RGB", (30, 20), "red").save(path / "b/0.png")


class Forked:
    """For `subprocess.Popen` in `hpcdistill.hdf5.apart`: the same reader, without the start of an interpreter."""

    def __init__(self, command, pass_fds, **_):
        (channel,) = pass_fds
        self.pid = os.fork()
        os.setpgid(self.pid, 0)
        if self.pid == 0:
            os.closerange(3, channel)  # the other end among them: when it is closed is what the reader waits for
            os.closerange(channel + 1, 256)
            end_with(lambda: reader.serve(socket.socket(fileno=channel)), otherwise=70)

    def wait(self):
        os.waitpid(self.pid, 0)


def outcome(arguments, folder):
    """Run a command in a child; return None if it ended as it should, or else what it did."""
    said = folder / "said"
    child = os.fork()
    if child == 0:
        end_with(lambda: _run(arguments, folder, said), otherwise=70)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    lines = said.read_text(errors="replace").splitlines()
    if os.WEXITSTATUS(status) not in (0, 2) or len(lines) > 1:  # a traceback is several
        return f"exit code {os.WEXITSTATUS(status)}: {' | '.join(lines[-3:])[:300]}"
    return None


def _run(arguments, folder, said):
    """In the child: run a command with bounded time and memory; return its exit code."""
    from hpcdistill.__main__ import main

    os.chdir(folder)
    descriptor = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(descriptor, 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    signal.alarm(SECONDS)
    with contextlib.suppress(SystemExit):
        return main(list(arguments))
    return 70


def fuzz(copies, seed, folder):
    """Run all commands on so many damaged copies in all; return what went wrong, by command, and how often."""
    from hpcdistill.hdf5 import apart
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.io.report import document  # imported once, and not in each child

    apart.subprocess.Popen = Forked
    reader._CPU_SECONDS = 5
    originals, rng = make_originals(folder), np.random.default_rng(seed)
    read_checkpoint(folder / "checkpoint.h5")
    assert document
    os.environ["HPCDISTILL_DATA"] = str(folder / "data")
    for name, commands in COMMANDS.items():
        place(folder / name, originals[name])
        for command in commands:
            assert outcome([word.format(folder / name) for word in command], folder) is None, f"{command}: intact"
    wrong = Counter()
    names = list(COMMANDS)
    for number in range(copies):
        name = names[number % len(names)]
        path = folder / f"damaged{Path(name).suffix}"
        content = damaged(originals[name], rng)
        place(path, content)
        for command in COMMANDS[name]:
            if found := outcome([word.format(path) for word in command], folder):
                wrong[f"{name}, {' '.join(command)}: {found}"] += 1
                (folder / f"kept-{number}{path.suffix}").write_bytes(content)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copies", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpcdistill-fuzz-"))
    wrong = fuzz(args.copies, args.seed, folder)
    for text, times in wrong.most_common():
        print(f"{times} × {text}")
    print(f"{args.copies} damaged copies, {sum(wrong.values())} wrong ends" + f"; files in {folder}" * bool(wrong))
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
