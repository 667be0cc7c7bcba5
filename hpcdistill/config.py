"""Configuration: a TOML file (and `--set` options) becomes frozen dataclasses. No JAX, no MPI.

Every key has a type, a default and one line of help; an unknown key answers with the valid ones. `to_toml` writes the
resolved configuration, which every output file carries.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from hpcdistill.architecture import NAMES_HELP, Architecture, parse_architecture
from hpcdistill.backend import is_interchangeable
from hpcdistill.errors import ConfigError
from hpcdistill.method import (
    DEFAULT,
    Method,
    described,
    find_method,
    method_names,
    own_methods,
    unknown_method,
    usable_methods,
)
from hpcdistill.schema import SectionType, apply_setting, build, flatten, key, toml_value

PRECISIONS = ("mixed", "float64", "float32")
SOLVERS = ("auto", "replicated", "scalapack")
AXES = ("auto", "nhwc", "nchw", "hwcn")
SPACES = ("auto", "raw", "preprocessed")
FITS = ("crop", "pad", "stretch")


@dataclass(frozen=True)
class DataConfig:
    """Section `[data]`."""

    name: str = key(
        "digits",
        "digits, mnist, fashion-mnist, cifar-10, cifar-100, svhn, a .npz, .h5 or .pt, or a ./FOLDER of pictures",
    )
    root: str = key("", "folder with the files; default $HPCDISTILL_DATA, else ~/.cache/hpcdistill/data")
    train_size: int = key(0, "use only so many training images, class-balanced; 0: all", minimum=0)
    test_size: int = key(0, "use only so many test images, class-balanced; 0: all", minimum=0)
    validation: int = key(0, "training images held out to choose the best step; 0: the data's own, if any", minimum=0)
    test_share: float = key(0.2, "share of the images to test on where data of one's own have no test split; 0: none",
                            minimum=0, below=1)  # fmt: skip
    images: str = key("", "own data: name of the array of training images; empty: told by the names")
    labels: str = key("", "own data: name of the array of training labels; empty: told by the names")
    test_images: str = key("", "own data: name of the array of test images; empty: told by the names")
    test_labels: str = key("", "own data: name of the array of test labels; empty: told by the names")
    size: int = key(0, "folder of pictures: height and width that all are brought to; 0: as they are",
                    minimum=0, maximum=4096)  # fmt: skip
    fit: str = key("crop", "how: crop the middle, pad with black, or stretch", FITS)
    axes: str = key("auto", "own data: order of the axes of images; auto: told by their lengths", AXES)


@dataclass(frozen=True)
class PreprocessConfig:
    """Section `[preprocess]`. Channels are always standardised."""

    zca: bool = key(False, "then normalise each image and whiten by regularised ZCA, as the papers do with RGB images")
    zca_reg: float = key(0.1, "ridge of ZCA relative to the mean eigenvalue of the covariance", above=0)


@dataclass(frozen=True)
class AugmentConfig:
    """Section `[augment]`: random changes of target images, fresh every step, for methods that learn images."""

    rotation: float = key(0.0, "largest angle, in degrees, either way", minimum=0, maximum=180)
    shift: float = key(0.0, "largest shift along each axis, as a fraction of the side", minimum=0, below=1)
    flip: bool = key(False, "mirror half of the images, left to right (not for digits)")
    channel_shift: float = key(0.0, "largest change of a channel, as a fraction of its range", minimum=0, below=1)
    unchanged: float = key(0.0, "fraction of the images that is left as it is", minimum=0, maximum=1)


@dataclass(frozen=True)
class SupportConfig:
    """Section `[support]`."""

    images_per_class: int = key(
        10, "size of the distilled set; 0: all training images, where the method only measures", minimum=0
    )
    init: str = key(
        "natural", "what learned images start from: natural (training images), noise, a .h5, .npz or .pt, or a ./FOLDER"
    )
    space: str = key("auto", "images of such a .npz or .pt: raw, as in the data set, or preprocessed", SPACES)
    images: str = key("", "name of the array of images in such a file; empty: told by the names")
    labels: str = key("", "name of the array of labels in such a file; empty: told by the names")
    corruption: float = key(
        0.0, "fraction of each learned image's pixels that is, and stays, noise", minimum=0, below=1
    )
    label_scale: float = key(1.0, "what all labels (one-hot minus 1/classes) are multiplied by", above=0)


@dataclass(frozen=True)
class KernelConfig:
    """Section `[kernel]`."""

    architecture: str = key("ConvNet", NAMES_HELP)
    kind: str = key("ntk", "neural tangent kernel or Gaussian process kernel", ("ntk", "nngp"))
    w_std: float = key(2.0**0.5, "standard deviation of the weights")
    b_std: float = key(0.1, "standard deviation of the biases", minimum=0)
    backend: str = key("auto", "kernel engine: auto, or one by name (`hpcdistill doctor` lists them)")
    precision: str = key("mixed", "mixed: K_ss in float64, K_ts in float32; or one type for both", PRECISIONS)

    @property
    def types(self) -> tuple[str, str]:
        """Types of K_ss and K_ts."""
        return ("float64", "float32") if self.precision == "mixed" else (self.precision, self.precision)


@dataclass(frozen=True)
class SolveConfig:
    """Section `[solve]`."""

    reg: float = key(1e-6, "ridge λ relative to the mean diagonal of K_ss", minimum=0)
    method: str = key("auto", "where K_ss is factored: on every rank, or by ScaLAPACK over all", SOLVERS)


@dataclass(frozen=True)
class CheckpointConfig:
    """Section `[checkpoint]`."""

    every: int = key(20, "steps between checkpoints, where a method makes many", minimum=1)
    keep: int = key(3, "newest checkpoints kept, besides those of the papers' schedule", minimum=1)


@dataclass(frozen=True)
class Config:
    """A whole run. Its class has a section for each method, too (`config_class`)."""

    method: str = key(DEFAULT, "what is done")
    seed: int = key(0, "decides every random draw, whatever the number of ranks", minimum=0)
    data: DataConfig = field(default_factory=DataConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    support: SupportConfig = field(default_factory=SupportConfig)
    kernel: KernelConfig = field(default_factory=KernelConfig)
    solve: SolveConfig = field(default_factory=SolveConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    @property
    def architecture(self) -> Architecture:
        """The network whose kernel is used."""
        k = self.kernel
        return parse_architecture(k.architecture, k.kind, k.w_std, k.b_std)

    def with_architecture(self, name: str) -> Config:
        """Return the same configuration with another network's kernel."""
        return dataclasses.replace(self, kernel=dataclasses.replace(self.kernel, architecture=name))

    def of(self, settings: type[SectionType]) -> SectionType:
        """Return the section of a method, by the class of its settings."""
        return next(section for section in vars(self).values() if type(section) is settings)

    def replacing(self, settings: type[SectionType], **values: Any) -> Config:
        """Return the same configuration with other values in the section of a method."""
        name = next(name for name, section in vars(self).items() if type(section) is settings)
        return dataclasses.replace(self, **{name: dataclasses.replace(getattr(self, name), **values)})

    def to_toml(self) -> str:
        """Return the resolved configuration as TOML."""
        return tomli_w.dumps(dataclasses.asdict(self))

    def __reduce__(self) -> tuple[Callable[[str], Config], tuple[str]]:  # pickled by its text: its class has no name
        return parse_config, (self.to_toml(),)


#: Keys and sections that do not depend on the method.
_COMMON = frozenset(f.name for f in dataclasses.fields(Config))


def config_class(methods: Mapping[str, Method]) -> type[Config]:
    """Return the class of configurations with a section for each of these methods."""
    return _config_class(tuple(one for one in methods.values() if not _is_taken(one.name)))


@cache
def _config_class(methods: tuple[Method, ...]) -> type[Config]:
    whats = "; ".join(f"{method.name}: {method.help}" for method in methods)
    what = key(DEFAULT, whats, tuple(method.name for method in methods))
    sections = [(method.name, method.settings, field(default_factory=method.settings))
                for method in methods if method.settings]  # fmt: skip
    return dataclasses.make_dataclass(
        "Config", [("method", str, what), *sections], bases=(Config,), frozen=True, namespace={"__module__": __name__}
    )


#: Keys that a resumed run may change: they say how far, how often and from where, not what is computed. Whether the
#: data are the same is seen from the data. Its method adds some.
RESUMABLE_KEYS = frozenset(
    {"data.name", "data.root", "checkpoint.every", "checkpoint.keep", "kernel.backend", "solve.method"}
)
#: What keys stood for before there were any, where their default says something else.
_BEFORE = {("data", "test_share"): 0.0}
#: Keys whose value is, or may be, the name of a file or folder, and whether it always is.
_PATH_KEYS = {("data", "name"): False, ("data", "root"): True, ("support", "init"): False}
_FILE_SUFFIXES = (".npz", ".h5", ".hdf5", ".pt", ".pth")


def load_config(path: str | Path, settings: list[str] = []) -> Config:  # noqa: B006 - never changed
    """Read a TOML file, apply `section.key=value` settings, and return the checked configuration.

    Names of files in it are relative to its folder, those in settings to the current one. All are absolute in the
    result, which so means the same from anywhere.

    Raises:
        ConfigError: the file is missing or not TOML; a key, type or value is wrong. The message names it and the valid
            ones.
    """
    return parse_config(read_text(path), settings, str(path), Path(path).parent)


def read_text(path: str | Path) -> str:
    """Return a text file's content, or raise `ConfigError`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give a configuration in TOML; jobs/ has examples.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from None


def parse_config(
    text: str,
    settings: list[str] = [],  # noqa: B006 - never changed
    where: str = "configuration",
    folder: Path = Path(),
    *,
    to_run: bool = True,
) -> Config:
    """Return the checked configuration of a TOML text with `section.key=value` settings applied. See `load_config`.

    Args:
        where: for messages.
        folder: what names of files in the text are relative to.
        to_run: whether its method has to be installed here.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}.") from None
    _make_absolute(table, folder)
    alone = copy.deepcopy(table)
    for setting in settings:
        apply_setting(table, setting)
    _make_absolute(table, Path())
    try:
        methods, config = _built(table, where, to_run=to_run)
    except ConfigError:
        if not settings:
            raise
        _built(alone, where, to_run=to_run)  # where the file is right by itself, it is not what is to be named
        methods, config = _built(table, "--set", to_run=to_run)
    _check_together(config, methods[config.method])
    return config


def _built(table: Mapping[str, Any], where: str, *, to_run: bool) -> tuple[Mapping[str, Method], Config]:
    methods = _methods_for(table, where, to_run=to_run)
    return methods, build(config_class(methods), table, "", where)


def _methods_for(table: Mapping[str, Any], where: str, *, to_run: bool) -> Mapping[str, Method]:
    """Return the methods that a table may name: other packages are asked only where this one's do not tell."""
    own, method = own_methods(), table.get("method", DEFAULT)
    others = {*table, method if isinstance(method, str) else ""} - _COMMON - own.keys()
    if isinstance(method, str) and _is_taken(method):
        raise ConfigError(f"{where}: method is {method!r}, which is a name of any configuration.")
    find = find_method if to_run else described
    found = {name: find(name) for name in method_names() if name in others} if others else {}
    if isinstance(method, str) and method not in own | found:
        if to_run:
            raise ConfigError(f"{where}: {unknown_method(method)}")
        found[method] = described(method)
    return own | found


def _is_taken(name: str) -> bool:
    """Tell whether no method can have this name, because something of every configuration has it."""
    return name in _COMMON or hasattr(Config, name)


def _sections(config: Config) -> list[str]:
    """Return the sections of methods."""
    return [f.name for f in dataclasses.fields(config) if f.name not in _COMMON]


def parse_stored(text: str, settings: list[str] = [], where: str = "checkpoint") -> Config:  # noqa: B006 - never changed
    """Return the configuration that a checkpoint was made with, with settings applied; see `parse_config`.

    Keys that are younger than it have the values that it was made with. Its method need not be installed here; sections
    of methods that are not are left out.
    """
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        sections = {}  # and `parse_config` says what is wrong
    gone = sections.keys() - _COMMON - own_methods().keys()
    if gone and (gone := {name for name in gone if not described(name).driver}):
        text = tomli_w.dumps({name: section for name, section in sections.items() if name not in gone})
    younger = [f"{section}.{name}={value}" for (section, name), value in _BEFORE.items()
               if name not in sections.get(section, {})]  # fmt: skip
    return parse_config(text, [*younger, *settings], where, to_run=False)


def why_not_resumed(old: Config, new: Config) -> str:
    """Return why a run of `old` cannot go on as `new`, and what to do; "" where it can."""
    method = find_method(new.method)
    may_change = RESUMABLE_KEYS | method.resumable | method.adjustable
    others = tuple(f"{name}." for name in _sections(new) if name != new.method)  # which decide nothing
    if not (is_interchangeable(old.kernel.backend) and is_interchangeable(new.kernel.backend)):
        may_change -= {"kernel.backend"}
    changed = _changes(old, new, lambda key: key not in may_change and not key.startswith(others))
    if not changed:
        return ""
    before = flatten(old)
    keys = [change.partition(":")[0] for change in changed]
    restore = " ".join(f"--set {shlex.quote(f'{key}={_plain(before[key])}')}" for key in keys)
    return (
        f"cannot be resumed with another configuration ({'; '.join(changed)}). Restore these keys in the file, or by "
        f"{restore}, or start anew in another folder with --output."
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else toml_value(value)


def adjusted_keys(old: Config, new: Config) -> list[str]:
    """Return the same for the keys that differ and decide what is computed, though a resumed run may change them."""
    method = find_method(new.method)
    decides = method.adjustable | method.decisive(new)
    return _changes(old, new, lambda key: key in decides)


def _changes(old: Config, new: Config, counts: Callable[[str], bool]) -> list[str]:
    before, after = flatten(old), flatten(new)
    return [
        f"{key}: {before[key]!r} → {after.get(key)!r}"
        for key in before
        if counts(key) and before[key] != after.get(key)
    ]


def _make_absolute(table: dict[str, Any], folder: Path) -> None:
    """Make names of files and folders in a TOML table absolute that are relative to `folder`."""
    of_methods = {(section, name): True for section in table.keys() - _COMMON for name in described(section).paths}
    for (section, name), always in (_PATH_KEYS | of_methods).items():
        keys = table.get(section)
        if not isinstance(keys, dict):
            continue
        value = keys.get(name)
        if isinstance(value, str) and value and (always or _is_path(value, folder)):
            path = os.path.expanduser(value)  # which leaves the ~ of no user for the reader to complain of
            keys[name] = value if path.startswith("~") else os.path.abspath(folder / path)


def _is_path(value: str, folder: Path) -> bool:
    """Tell whether a value is a path: by a slash, its suffix, or a dot and that there is such a file."""
    return (os.sep in value or value.lower().endswith(_FILE_SUFFIXES)
            or ("." in value and os.path.isfile(folder / value)))  # fmt: skip


def _check_together(config: Config, method: Method) -> None:
    support = config.support
    if not method.driver:  # it is not installed here, and nothing is known of what it can do
        return
    for name in (config.kernel.architecture, *method.networks(config)):
        _ = config.with_architecture(name).architecture  # raises if it is unknown
    if support.images_per_class == 0 and not method.takes_all:
        raise ConfigError(f"support.images_per_class must be at least 1 for method {config.method!r}, not 0.")
    if not method.learns_images and (support.init != "natural" or support.corruption):
        learn = " or ".join(repr(one.name) for one in usable_methods().values() if one.learns_images)
        raise ConfigError(f"support.init and support.corruption are for method {learn}, not {config.method!r}.")
    method.check(config)
