"""Checkpoints: what is in an HDF5 file, and how it is read back. Needs no MPI; `checkpoint_write` writes them.

Layout (schema version 1):

    /support/images (n,h,w,c) float64, preprocessed    /support/labels (n,classes) float64    /support/source_index (n)
    /support/{images_display,initial_display} (n,h,w,c) uint8, to look at: now, and as drawn from the training images
    /preprocess/{mean,std,display_range}
    /METHOD/…, /optimizer/…: what its method goes on from besides
    /random/{seed,step}                                /history/{step,loss,train_accuracy,…,seconds}
    attributes: schema_version, hpcdistill_version, git_commit, config (TOML), method, dataset, class_names,
                architecture, step, train_sha256, test_sha256 (of the data), zca_sha256, changes (of settings, on the
                way), exchanged (JSON, see `io.exchanged`), complete
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.errors import CheckpointError, KernelGivenError
from hpcdistill.hdf5.apart import read_apart
from hpcdistill.hdf5.complete import read_content
from hpcdistill.io.kernel_file import is_of_kernel

SCHEMA_VERSION = 1
#: Columns that every checkpoint has.
_HISTORY = ("step", "loss", "train_accuracy", "validation_accuracy", "test_accuracy", "seconds")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: arrays by their HDF5 path, the file's attributes, and which file that is."""

    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any] = field(default_factory=dict)
    where: str = "this checkpoint"

    def array(self, name: str) -> np.ndarray:
        """Return an array by HDF5 path.

        Raises:
            CheckpointError: the file has none of that name.
        """
        if name not in self.arrays:
            raise self.changed(f"has no array /{name}, which this needs")
        return self.arrays[name]

    def attribute(self, name: str) -> Any:
        """Return an attribute of the file: `step` as a whole number, any other as text.

        Raises:
            CheckpointError: the file has none of that name, or it is of another type.
        """
        value, kind = self.attributes.get(name), int if name == "step" else str
        if type(value) is not kind:
            found = "no attribute" if value is None else f"a {type(value).__name__} as attribute"
            raise self.changed(f"has {found} {name}, which this needs")
        return value

    def class_names(self) -> list[str]:
        """Return the names of the classes, in the order of the labels' columns.

        Raises:
            CheckpointError: there are none, or not as many as the labels have columns.
        """
        names, labels = self.attribute("class_names").split("\n"), self.array("support/labels")
        if labels.ndim != 2 or labels.shape[1] != len(names):
            raise self.changed(f"/support/labels {labels.shape} does not fit {len(names)} class names")
        return names

    def images(self, name: str) -> np.ndarray:
        """Return an array of the support's images by HDF5 path, `(n, h, w, c)`.

        Raises:
            CheckpointError: there is none, it is of another form, or has not as many images as there are labels.
        """
        images, n = self.array(name), len(self.array("support/labels"))
        if images.ndim != 4 or len(images) != n or 0 in images.shape:
            raise self.changed(f"/{name} {images.shape} are no {n} images")
        return images

    def history(self) -> dict[str, np.ndarray]:
        """Return the columns of /history by name, one entry per row in each.

        Raises:
            CheckpointError: a column is missing, or they are not of one length.
        """
        for name in _HISTORY:
            self.array(f"history/{name}")
        columns, rows = self.group("history"), self.arrays["history/step"].shape
        for name, column in columns.items():
            if column.shape != rows or len(rows) != 1 or column.dtype.kind not in "iuf":
                raise self.changed(f"/history/{name} {column.shape} has not one number for each of {rows} rows")
        return columns

    def changed(self, what: str) -> CheckpointError:
        """Return the error that says what is wrong with a file that is whole, but not as it was written."""
        return CheckpointError(
            f"{self.where}: {what}: it was changed after it was written. Use another checkpoint of the run."
        )

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays below `prefix`, by the rest of their path."""
        return {k.removeprefix(prefix + "/"): v for k, v in self.arrays.items() if k.startswith(prefix + "/")}


def read_checkpoint(path: Path, group: str = "", *, apart: bool = True) -> Checkpoint:
    """Return the content of a complete checkpoint. Not collective; needs no MPI in h5py.

    Args:
        group: read only the arrays below this path, such as "history"; default: all.
        apart: read it in a process of its own, which takes a quarter of a second and survives any damage. Without, for
            many files that one's own runs have written.

    Raises:
        CheckpointError: the file is missing, is no HDF5 file, is incomplete, or has another schema.
        KernelGivenError: it is a kernel file.
    """

    def choose(paths: Sequence[str]) -> list[str]:
        if is_of_kernel(paths):
            raise KernelGivenError(
                f"{path}: is a kernel, which `hpcdistill kernel` or NeuralKernel.to_hdf5 wrote, and no checkpoint. "
                "`hpcdistill inspect` shows it, by itself. Give the checkpoint of a run, OUTPUT/latest.h5."
            )
        return [one for one in paths if one == group or one.startswith(f"{group}/" if group else "")]

    if os.path.isdir(path):
        raise CheckpointError(f"{path}: is a folder. Give the checkpoint of a run, such as {path}/latest.h5.")
    try:
        content = read_apart(path, choose=choose) if apart else read_content(path, [group] if group else [])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. `hpcdistill run` writes OUTPUT/latest.h5.") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:  # damage can raise any
        raise CheckpointError(
            f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]}). It is damaged, or something else: copy it "
            "anew, or take an earlier one."
        ) from error
    _check_attributes(path, content.attributes)
    return Checkpoint(content.arrays, content.attributes, str(path))


def _check_attributes(path: Path, attributes: dict[str, Any]) -> None:
    if "schema_version" not in attributes:
        raise CheckpointError(f"{path}: was not written by hpcdistill (it has no attribute schema_version).")
    if not attributes.get("complete"):
        raise CheckpointError(f"{path}: is incomplete: whoever wrote it was stopped. Use the checkpoint before it.")
    if attributes["schema_version"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path}: has schema version {attributes['schema_version']}; this hpcdistill reads {SCHEMA_VERSION}. "
            f"Use hpcdistill {attributes.get('hpcdistill_version', '?')}."
        )
