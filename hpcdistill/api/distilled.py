"""Distilled sets in Python: read, used to predict, to train on, and saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.api.kernel import NeuralKernel
from hpcdistill.api.ridge import solve_ridge
from hpcdistill.api.saved import read_saved
from hpcdistill.backend import usable_anywhere
from hpcdistill.config import Config, parse_stored
from hpcdistill.data.preprocess import Preprocessing, Standardisation
from hpcdistill.data.readers.own_arrays import without_bool
from hpcdistill.data.registry import is_foreign_set
from hpcdistill.data.zca import Zca
from hpcdistill.errors import InputError
from hpcdistill.io.checkpoint import Checkpoint, read_checkpoint
from hpcdistill.io.export import export_npz
from hpcdistill.io.export_images import export_torch
from hpcdistill.io.preprocess_file import StoredZca, zca_of
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.run.origin import stored_standardisation
from hpcdistill.whole_file import whole_file

#: Images predicted at a time.
_CHUNK = 2048


@dataclass(frozen=True, repr=False, eq=False)
class DistilledSet:
    """A distilled set with all that is needed to use it. `hpcdistill.load` and `hpcdistill.distill` make one.

    Attributes:
        images: `(n, h, w, c)` float64, preprocessed: what kernels and networks see.
        images_display: the same as uint8, as they look.
        labels: `(n, classes)` float64; the largest entry is at the class.
        class_names: of the data set.
        network, kind: the network, and "ntk" or "nngp", whose kernel it was distilled with.
        step: of the run that made it.
        history: columns by name, a row for each step: `step`, `loss`, `train_accuracy`, `test_accuracy`, …; NaN where
            nothing was measured.
        config: the run's configuration, as TOML.
        source: the checkpoint that it was read from; None where it comes from `hpcdistill.distill`.
    """

    images: np.ndarray
    images_display: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    network: str
    kind: str
    step: int
    history: dict[str, np.ndarray]
    config: str
    source: Path | None
    _checkpoint: Checkpoint
    _zca_from: StoredZca | Path | None

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.images.shape[1:]))
        return (f"<DistilledSet: {len(self.images)} images {shape} of {len(self.class_names)} classes, "
                f"{self.network} {self.kind}, step {self.step}>")  # fmt: skip

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, source: Path | None, zca: StoredZca | Path | None) -> DistilledSet:
        """Return the set in a checkpoint.

        Args:
            zca: the ZCA matrix that it was made with, if any, or the file that it is read from when it is needed.

        Raises:
            CheckpointError: something is missing in it.
        """
        return cls(
            images=checkpoint.images("support/images"),
            images_display=checkpoint.images("support/images_display"),
            labels=checkpoint.array("support/labels"),
            class_names=tuple(checkpoint.class_names()),
            network=checkpoint.attribute("architecture"),
            kind=parse_stored(checkpoint.attribute("config"), where=checkpoint.where).kernel.kind,
            step=checkpoint.attribute("step"),
            history=checkpoint.history(),
            config=checkpoint.attribute("config"),
            source=source,
            _checkpoint=checkpoint,
            _zca_from=zca,
        )

    def preprocess(self, raw: ArrayLike) -> np.ndarray:
        """Return raw images `(n, h, w, c)`, in the units of the data set, as the run preprocessed its own.

        Means, standard deviations and the ZCA matrix are those of the checkpoint.

        Raises:
            InputError: images of another shape.
            CheckpointError: the ZCA matrix is not beside the checkpoint.
        """
        images = self._raw(raw)
        return self._preprocessing.apply(images) if len(images) else images.astype(np.float64)

    def predict(self, raw: ArrayLike) -> np.ndarray:
        """Return the predictions `(n, classes)` of kernel ridge regression on this set, as `evaluate` makes them.

        The class is where a row is largest. Kernels are computed by the fastest backend that is here; of a set made
        with one of another package, by that.

        Args:
            raw: images `(n, h, w, c)`, or `(n, h, w)` of one channel, in the units of the data set.
        """
        dtype = "float64" if self._settings.kernel.precision == "float64" else "float32"
        kernel, images = self._kernel(dtype), self._raw(raw)
        chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
        parts = [kernel(self.preprocess(chunk), self.images).astype(np.float64) @ self._alpha for chunk in chunks]
        return np.concatenate([np.zeros((0, len(self.class_names))), *parts])

    def _raw(self, raw: ArrayLike) -> np.ndarray:
        """Return images `(n, h, w, c)` of numbers; of bool ones True is 255, as where they are distilled."""
        images = np.asarray(raw)
        if images.ndim == 3 and self.images.shape[3] == 1:
            images = images[..., np.newaxis]
        if images.ndim != 4 or images.shape[1:] != self.images.shape[1:] or images.dtype.kind not in "biuf":
            shape = ", ".join(map(str, self.images.shape[1:]))
            raise InputError(f"Images must be (n, {shape}), channels last, and numbers; "
                             f"these are {images.dtype} {images.shape}.")  # fmt: skip
        return without_bool(images)

    def torch(self) -> tuple[Any, Any]:
        """Return images `(n, c, h, w)` and labels `(n, classes)` as PyTorch's float32 tensors, to train on.

        Raises:
            ImportError: PyTorch is not installed.
        """
        import torch

        images = np.ascontiguousarray(np.moveaxis(self.images, 3, 1), np.float32)
        return torch.from_numpy(images), torch.from_numpy(self.labels.astype(np.float32))

    def save(self, path: str | Path) -> None:
        """Write it with all that is needed to use it, as `hpcdistill export` does.

        Args:
            path: ending in `.npz`, or in `.pt` for PyTorch's tensors.

        Raises:
            InputError: another ending.
            OSError: it cannot be written.
        """
        form = Path(path).suffix.lower()
        if form not in (".npz", ".pt"):
            raise InputError(f"{path}: a distilled set is saved as .npz or .pt.")
        with whole_file(Path(path)) as file:
            if form == ".npz":
                export_npz(self._checkpoint, file, self._zca)
            else:
                export_torch(self._checkpoint, file)

    @cached_property
    def _alpha(self) -> np.ndarray:
        """The solution `(K_ss + λ I)⁻¹ y_s`, float64."""
        settings = self._settings
        dtype = "float32" if settings.kernel.precision == "float32" else "float64"
        return solve_ridge(self._kernel(dtype)(self.images), self.labels, settings.solve.reg)

    def _kernel(self, dtype: str) -> NeuralKernel:
        k = self._settings.kernel
        return NeuralKernel(self.network, self.kind, k.w_std, k.b_std, dtype=dtype, backend=usable_anywhere(k.backend))

    @cached_property
    def _settings(self) -> Config:
        return parse_stored(self.config, where=self._checkpoint.where)

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        standardisation: Standardisation = stored_standardisation(self._checkpoint)
        if (stored := self._zca) is None:
            return standardisation
        return Zca(standardisation, stored.matrix, stored.reg, stored.display_norm)

    @cached_property
    def _zca(self) -> StoredZca | None:
        zca = self._zca_from
        return zca_of(self._checkpoint, zca) if isinstance(zca, Path) else zca


def load(path: str | Path, *settings: str) -> DistilledSet:
    """Read a distilled set: a checkpoint, such as `OUTPUT/latest.h5`, what `save` wrote, or a set of somebody else.

    A set of somebody else is made a checkpoint of, with the data set that the settings name; it is kept in the data
    folder (`$HPCDISTILL_DATA`), in `sets/`, and a line says so.

    Args:
        path: a checkpoint; an `.npz` or `.pt` of ours; one of others with images and labels, or a folder of pictures
            for each class.
        settings: what a file of somebody else cannot say, as `--set` has it: `"data.name=mnist"`,
            `"kernel.architecture=ConvNet"`, `"preprocess.zca=true"`. None for a checkpoint or a file of ours.

    Raises:
        CheckpointError: it cannot be read, or is no checkpoint.
        ConfigError, DataError: a set of somebody else, of which the settings do not say enough, or that does not fit.

    Examples:
        >>> import hpcdistill
        >>> distilled = hpcdistill.load("runs/demo/kip-10/latest.h5")           # doctest: +SKIP
        >>> (distilled.predict(raw_images).argmax(axis=1) == classes).mean()    # doctest: +SKIP
        0.938
    """
    source = Path(path)
    for setting in settings:
        if not isinstance(setting, str):
            raise InputError(f'Settings are texts such as "data.name=mnist", not {setting!r}.')
    if source.suffix.lower() == ".npz" and not settings and (saved := read_saved(source)):
        checkpoint, zca = saved
        return DistilledSet.of_checkpoint(checkpoint, source.resolve(), zca)
    if is_foreign_set(source):
        from hpcdistill.run.adopt import adopt_here  # which needs MPI

        source = adopt_here(source, list(settings))
    elif settings:
        raise InputError(f"{path}: is a checkpoint, which has its settings: {', '.join(settings)} cannot be changed.")
    source = source.resolve()
    checkpoint = read_checkpoint(source)
    return DistilledSet.of_checkpoint(checkpoint, source, RunDirectory.of_checkpoint(source).preprocess)
