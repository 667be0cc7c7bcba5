"""The page of HDF5 files: small ones are written by the product itself, and listed. Meanings are in hdf5.toml."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import h5py

#: Ten images of 8×8 digits, the smallest network: what is listed is what these runs write.
_COMMON = ("data.name=digits", "kernel.architecture=FC1", "support.images_per_class=1", "data.train_size=100",
           "data.test_size=50")  # fmt: skip
_RUNS = {
    "kip": ("kip.steps=2", "kip.batch=50", "kip.loss=cross_entropy", "kip.average=0.5", "preprocess.zca=true",
            "kip.evaluate_every=1", "data.validation=20"),
    "label_solve": (),
    "krr": ("krr.draws=2",),
    "krr, all images": ("support.images_per_class=0", "krr.regs=[0.1]", "krr.solver=conjugate_gradients",
                        "krr.rank=10"),
}  # fmt: skip


def page() -> str:
    """Return the page's Markdown; `ValueError` where a file has an array or attribute of no known meaning."""
    told = tomllib.loads((Path(__file__).parent / "hdf5.toml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        files = _write(Path(folder))
        parts = [f"# Files in HDF5\n\n{told['text']}\n"]
        for name, section in told["files"].items():
            found = {where: _content(files[where]) for where in section["from"]}
            parts.append(_section(name, section, found))
    return "\n".join(parts)


def _write(folder: Path) -> dict[str, Path]:
    """Make a run of each method, and the file of a kernel; return the files to be listed, by name."""
    config = folder / "c.toml"
    config.write_text("")
    for name, settings in _RUNS.items():
        method = name.partition(",")[0]
        _hpcdistill("run", config, "--output", folder / name, *_set(f"method={method}", *_COMMON, *settings))
    kernel = folder / "kernel.h5"
    _hpcdistill("kernel", config, "--output", kernel, *_set(*_COMMON))
    latest = {name: folder / name / "latest.h5" for name in _RUNS}
    return latest | {"preprocess": folder / "kip/preprocess.h5", "kernel": kernel}


def _set(*settings: str) -> list[str]:
    return [f"--set={setting}" for setting in settings]


def _hpcdistill(*arguments: Any) -> None:
    command = [sys.executable, "-m", "hpcdistill", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"HPCDISTILL_MPI": "0"}, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")


def _content(path: Path) -> dict[str, tuple[str, str]]:
    """Return "attribute NAME" and "/PATH" of what is in a file, each with its type and shape."""
    with h5py.File(path, "r") as file:
        found = {f"attribute {name}": (type(value).__name__, "") for name, value in file.attrs.items()}
        arrays: list[tuple[str, h5py.Dataset]] = []
        file.visititems(lambda name, item: arrays.append((name, item)) if isinstance(item, h5py.Dataset) else None)
        return found | {f"/{name}": (str(item.dtype), "×".join(map(str, item.shape))) for name, item in arrays}


def _section(name: str, section: dict[str, Any], found: dict[str, dict[str, tuple[str, str]]]) -> str:
    lines = [f"## {name}\n", f"{section['text']}\n", f"| name | type | shape in the example | meaning |{_head(found)}",
             f"|---|---|---|---|{'---|' if len(found) > 1 else ''}"]  # fmt: skip
    everything = {item: form for content in found.values() for item, form in content.items()}
    _check_all_used(everything, section["meaning"], name)
    for item in sorted(everything, key=lambda item: _place(item, section["meaning"], name)):
        methods = ", ".join(where for where, content in found.items() if item in content)
        meaning = list(section["meaning"].values())[_place(item, section["meaning"], name)]
        form, shape = everything[item]
        label = f"`{item}`" if item.startswith("/") else f"attribute `{item.removeprefix('attribute ')}`"
        only = f" {'all' if methods == ', '.join(found) else methods} |" if len(found) > 1 else ""
        lines.append(f"| {label} | {form} | {shape} | {meaning} |{only}")
    return "\n".join(lines) + "\n"


def _head(found: dict[str, Any]) -> str:
    return " method |" if len(found) > 1 else ""


def _place(item: str, meanings: dict[str, str], file: str) -> int:
    """Return which of the meanings is that of an array or attribute."""
    for place, pattern in enumerate(meanings):
        if fnmatch.fnmatchcase(item, pattern):
            return place
    raise ValueError(f"docs/site/hdf5.toml does not say what {item} of {file} is")


def _check_all_used(items: dict[str, Any], meanings: dict[str, str], file: str) -> None:
    if unused := [pattern for pattern in meanings if not fnmatch.filter(items, pattern)]:
        raise ValueError(f"docs/site/hdf5.toml: {file} has no {', '.join(unused)}")
