"""Distilling arrays in Python: arrays in, a distilled set out, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import ArrayLike

from hpcdistill.api.distilled import DistilledSet
from hpcdistill.config import Config, parse_config
from hpcdistill.data.readers.own import dataset_of_arrays
from hpcdistill.errors import ConfigError
from hpcdistill.io.preprocess_file import StoredZca
from hpcdistill.progress import on_terminal
from hpcdistill.run.reading import reading_of

Callback = Callable[[int, dict[str, float]], None]

#: Of the data set, in the configuration and in messages.
_NAME = "arrays"


def distill(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    method: str = "kip",
    images_per_class: int = 1,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    config: Mapping[str, Any] | None = None,
    comm: Any = None,
    callback: Callback | None = None,
) -> DistilledSet:
    """Distil labelled images: what `hpcdistill run` does, without files.

    Args:
        images: `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)`; integers 0…255, floats, or bool.
        labels: `(n,)` or `(n, 1)` class numbers or names, or one-hot rows.
        method: "kip", "label_solve", or "krr" (random natural images, for comparison).
        images_per_class: of the distilled set.
        test: images and labels to measure the accuracy on while it is distilled; it decides nothing.
        config: any other key of the configuration (`hpcdistill run --help` lists them), by section or dotted:
            `{"kip": {"steps": 500}, "kernel.architecture": "FC1"}`. A batch is all images where these are fewer than
            `kip.batch` by default.
        comm: mpi4py's communicator of the ranks that share the work; default: this process alone. Collective then:
            every rank calls with the same arguments (images count on the first rank of each node).
        callback: is told of each step, on the first rank: its number and its figures, by the names of
            `DistilledSet.history`; NaN stands for what was not measured.

    Returns:
        The set after the last step; with `data.validation` the one that was best on the images held out.

    Raises:
        ConfigError: a wrong key or value, or one that does not fit the images.
        DataError: images or labels that cannot be used.
        NumericalError: the computation failed; the message says what to change.

    Source: arXiv:2011.00050, arXiv:2107.13034.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> import hpcdistill
        >>> images, labels = load_digits().images, load_digits().target
        >>> distilled = hpcdistill.distill(images[:600], labels[:600], test=(images[1200:], labels[1200:]),
        ...                                config={"kernel.architecture": "FC1", "kip.steps": 30})
        >>> distilled.images.shape
        (10, 8, 8, 1)
        >>> bool((distilled.predict(images[1200:]).argmax(axis=1) == labels[1200:]).mean() > 0.8)
        True
    """
    from hpcdistill.run.in_memory import run_in_memory  # which needs MPI

    arrays = {"images": np.asarray(images), "labels": np.asarray(labels)}
    if test is not None:
        arrays |= {f"test_{name}": np.asarray(array) for name, array in zip(arrays, test, strict=True)}
    settings = _configuration(method, images_per_class, config or {}, len(arrays["images"]))
    checkpoint, zca = run_in_memory(
        comm, settings, lambda: dataset_of_arrays(arrays, reading_of(settings)), callback, show=on_terminal()
    )
    return DistilledSet.of_checkpoint(checkpoint, None, partial(_given, zca))


def _given(zca: StoredZca | None) -> StoredZca | None:
    return zca


def _configuration(method: str, images_per_class: int, config: Mapping[str, Any], n_images: int) -> Config:
    table: dict[str, Any] = {}
    for key, value in config.items():
        section, _, name = key.partition(".")
        if name or isinstance(value, Mapping):
            table.setdefault(section, {}).update({name: value} if name else value)
        else:
            table[section] = value
    parsed = parse_config(tomli_w.dumps(table), where="config")  # which says what is wrong
    for section, name in (("data", "name"), ("data", "root"), ("support", "images_per_class")):
        if name in table.get(section, {}):
            raise ConfigError(f"config: {section}.{name} is an argument of its own, or of files. Leave it out.")
    if "method" in table:
        raise ConfigError("config: the method is an argument of its own. Leave it out.")
    kip, data = parsed.kip, replace(parsed.data, name=_NAME, test_share=0.0)
    if "batch" not in table.get("kip", {}) and n_images < kip.batch:
        kip = replace(kip, batch=0)
    settings = [f"method={method}", f"support.images_per_class={images_per_class}"]
    return parse_config(replace(parsed, kip=kip, data=data).to_toml(), settings, "arguments")
