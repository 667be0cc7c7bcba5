"""Distilling arrays in Python: arrays in, a distilled set out, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import ArrayLike

from hpcdistill.api.distilled import DistilledSet
from hpcdistill.config import Config, parse_config
from hpcdistill.data.dataset import Dataset
from hpcdistill.data.readers.own import dataset_of_arrays
from hpcdistill.errors import ConfigError, DataError
from hpcdistill.method import find_method
from hpcdistill.progress import on_terminal
from hpcdistill.run.reading import reading_of

Callback = Callable[[int, dict[str, float]], None]

#: Keys of [data] that are of use for arrays.
_OF_ARRAYS = {"train_size", "test_size", "validation", "axes"}
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
        test: images and labels to measure the accuracy on while it is distilled; it decides nothing. "krr" needs it.
        config: any other key of the configuration (`hpcdistill run --help` lists them), by section or dotted:
            `{"kip": {"steps": 500}, "kernel.architecture": "FC1"}`. A batch is all images where these are fewer than
            `kip.batch` by default.
        comm: mpi4py's communicator of the ranks that share the work; default: this process alone. Collective then:
            every rank calls with the same arguments.
        callback: is told of each step, on the first rank: its number and its figures, by the names of
            `DistilledSet.history`; NaN stands for what was not measured.

    Returns:
        The set after the last step; with `data.validation` the one that was best on the images held out.

    Raises:
        ConfigError: a wrong key or value, or one that does not fit the images.
        DataError: images or labels that cannot be used.
        NumericalError: the computation failed; the message says what to change.

    Source: arXiv:2011.00050, arXiv:2107.13034.

    Examples:
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

    def prepare() -> tuple[Config, Callable[[], Dataset]]:
        arrays = _arrays(images, labels, test)
        if callback is not None and not callable(callback):
            raise ConfigError(f"callback must be a function of a step and its figures, not {callback!r}.")
        settings = _configuration(method, images_per_class, config, arrays)
        return settings, lambda: dataset_of_arrays(arrays, reading_of(settings), _NAME)

    checkpoint, zca = run_in_memory(comm, prepare, callback, show=on_terminal())
    return DistilledSet.of_checkpoint(checkpoint, None, zca)


def _arrays(images: ArrayLike, labels: ArrayLike, test: tuple[ArrayLike, ArrayLike] | None) -> dict[str, np.ndarray]:
    """Return arrays by the names that they have in a file."""
    if test is not None and (not isinstance(test, (tuple, list)) or len(test) != 2):
        raise ConfigError("test must be a pair, (images, labels).")
    named = {"images": images, "labels": labels} | dict(zip(("test_images", "test_labels"), test or (), strict=False))
    arrays = {}
    for name, values in named.items():
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise DataError(f"{name}: cannot be made one array ({error}). All images must have one shape.") from None
        if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
            array = array.astype(str)
        if array.ndim == 0:
            raise DataError(f"{name} must be an array, it is {values!r}.")
        arrays[name] = array
    return arrays


def _configuration(
    method: str, images_per_class: int, config: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray]
) -> Config:
    table = _table({} if config is None else config)
    if "method" in table:
        raise ConfigError("config: the method is an argument of its own. Leave it out.")
    parsed = parse_config(tomli_w.dumps(table), [f"method={method}"], "config")  # which says what is wrong
    ours = {"data": set(vars(parsed.data)) - _OF_ARRAYS, "support": {"images_per_class"}}
    for section, names in ours.items():
        for name in sorted(names & set(table.get(section, {}))):
            raise ConfigError(f"config: {section}.{name} is an argument of its own, or of files. Leave it out.")
    how = find_method(method)
    if how.needs_test and "test_images" not in arrays:
        raise ConfigError(f"method={method!r} measures natural images: give it test=(images, labels).")
    data = replace(parsed.data, name=_NAME, test_share=0.0)
    n_train = (data.train_size or len(arrays["images"])) - data.validation
    given = frozenset(f"{section}.{key}" for section, keys in table.items() if isinstance(keys, dict) for key in keys)
    fitted = how.for_images(replace(parsed, data=data), n_train, given)
    settings = [f"method={method}", f"support.images_per_class={images_per_class}"]
    return parse_config(fitted.to_toml(), settings, "arguments")


def _table(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of sections, of keys by section or dotted, as one of sections."""
    if not isinstance(config, Mapping):
        raise ConfigError(f"config must be a dictionary such as {{'kip.steps': 500}}, not {config!r}.")
    table: dict[str, Any] = {}
    for key, value in config.items():
        section, _, name = str(key).partition(".")
        if name or isinstance(value, Mapping):
            entries = {name: value} if name else value
            table.setdefault(section, {}).update({str(k): _plain(v, f"{section}.{k}") for k, v in entries.items()})
        else:
            table[section] = _plain(value, section)
    return table


def _plain(value: Any, key: str) -> Any:
    """Return a value that TOML can hold; NumPy's numbers become Python's."""
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, (bool, int, float, str, list, tuple)):
        raise ConfigError(f"config: {key} is {value!r}, which is no value of a configuration.")
    return plain
