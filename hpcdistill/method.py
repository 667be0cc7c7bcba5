"""What a method of distillation says of itself, and which methods there are. Light: a login node reads it.

A method is a `Method`; what it does is the `Driver` (`hpcdistill.run.driver`) that it names, imported when it runs. The
rest of the package knows methods by this registry alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.plugins import find, known, load_object

if TYPE_CHECKING:
    import numpy as np

    from hpcdistill.config import Config
    from hpcdistill.cost.work import Images, Work
    from hpcdistill.data.sampling import Pool

#: The method of a configuration that names none, and all that this package brings.
DEFAULT = "kip"
_OWN = {
    "kip": "hpcdistill.methods.kip:METHOD",
    "label_solve": "hpcdistill.methods.label_solve:METHOD",
    "krr": "hpcdistill.methods.krr:METHOD",
}


@dataclass(frozen=True)
class Sweep:
    """Figures of one run at several values of a setting.

    Attributes:
        setting: what it is called.
        values: ascending, `(m,)`.
        figures: `(m,)` each, by name; what was not measured is NaN. Those whose name ends with "accuracy" are.
    """

    setting: str
    values: np.ndarray
    figures: dict[str, np.ndarray]

    def cells(self, i: int) -> list[str]:
        """Return the value and figures of a row as text."""
        figures = [
            (column[i], ".2%" if name.endswith("accuracy") else ".0f" if name == "steps" else ".3g")
            for name, column in self.figures.items()
        ]
        return [f"{self.values[i]:g}", *("–" if value != value else f"{value:{form}}" for value, form in figures)]


class Method:
    """A method of distillation: its settings, its limits, and what is said of it. Each attribute has a default.

    Attributes:
        name: in the configuration, where its settings are in the section of the same name.
        title: what reports call it.
        help: a line for `run --help`.
        paths: its settings that are names of files or folders.
        settings: a frozen dataclass whose fields are made with `hpcdistill.schema.key`; None for no settings.
        driver: "module:class" of its `Driver`; see `driver_of`.
        learns_images: whether it changes images. Else they are natural ones.
        labels: what becomes of labels, as a participle ("learned"); "" where they stay.
        is_sample: whether each step is a random draw: steps are numbered from 0, and their accuracies averaged.
        needs_test: whether it is nothing without test images.
        takes_all: whether `support.images_per_class = 0`, all training images, makes sense.
        keeps_paper_steps: whether checkpoints of the papers' schedule stay.
        unit: what costs `targets` times the support in kernel entries, for messages.
        needs_gradient: whether these entries are differentiated.
        shorter: what makes the time between two moments at which it can stop shorter, for messages.
        resumable: keys, such as "kip.steps", that a run which goes on may change: how far, how often, from where.
        adjustable: keys that it may change though they decide what is computed, to get on after numerical errors;
            checkpoints note it.
    """

    name = ""
    title = ""
    help = ""
    settings: type | None = None
    paths: frozenset[str] = frozenset()
    driver = ""
    learns_images = False
    labels = ""
    is_sample = False
    needs_test = False
    takes_all = False
    keeps_paper_steps = False
    unit = "a step"
    needs_gradient = False
    shorter = ""
    resumable: frozenset[str] = frozenset()
    adjustable: frozenset[str] = frozenset()

    def check(self, config: Config) -> None:
        """Raise `ConfigError` where settings do not go together."""

    def driver_of(self, config: Config) -> str:
        """Return its driver, which may depend on the configuration."""
        return self.driver

    def check_images(self, config: Config, pool: Pool, validation: int) -> None:
        """Raise `ConfigError` where settings do not fit the training images, or the number of those held out."""

    def notes(self, config: Config, pool: Pool, class_names: tuple[str, ...]) -> list[str]:
        """Return what there is to say of a run on these images before it begins."""
        return []

    def for_images(self, config: Config, n_train: int, given: frozenset[str]) -> Config:
        """Return a configuration whose defaults fit a number of training images; `given` are the keys that were set."""
        return config

    def targets(self, config: Config) -> tuple[str, int]:
        """Return how many targets a unit has at first, and the key that says so; 0 for all training images."""
        return "", 0

    def repeated_targets(self, config: Config, n_train: int) -> int:
        """Return how many training images a run asks for in all, as they are; 0: each about once."""
        return 0

    def networks(self, config: Config) -> tuple[str, ...]:
        """Return the networks besides `kernel.architecture` whose kernels it draws from."""
        return ()

    def decisive(self, config: Config) -> frozenset[str]:
        """Return keys that decide what is computed, though a run that goes on may change them."""
        return frozenset()

    def steps(self, config: Config) -> int:
        """Return how many steps a run has, 0 where that is not known before."""
        return 0

    def work(self, config: Config, images: Images) -> Work | None:
        """Return what a run computes, keeps and writes, for `hpcdistill plan`; None where that is not known before."""
        return None

    def sweep(self, arrays: Mapping[str, np.ndarray]) -> Sweep | None:
        """Return what a run has measured at several values of one setting; None where it has not.

        Args:
            arrays: of its checkpoint, by HDF5 path.
        """
        return None

    def loss_in_words(self, settings: dict[str, Any], history: dict[str, np.ndarray]) -> str:
        """Return a sentence on what its loss is, "" for the papers'.

        Args:
            settings: its section, as a checkpoint has it.
            history: columns of the run's history.
        """
        return ""


@cache
def own_methods() -> dict[str, Method]:
    """Return this package's methods by name."""
    return {name: find_method(name) for name in _OWN}


def method_names() -> list[str]:
    """Return the names of all methods: this package's, then those that others add."""
    return list(known("methods", _OWN))


def usable_methods() -> dict[str, Method]:
    """Return all methods by name, but for those of other packages that cannot be imported: who names one is told."""
    usable = {}
    for name in method_names():
        with suppress(EnvironmentSetupError):
            usable[name] = find_method(name)
    return usable


@cache
def find_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        ConfigError: there is none of that name.
    """
    reference = find("methods", _OWN, name)
    if reference is None:
        raise ConfigError(unknown_method(name))
    method: Method = load_object(f"method {name!r}", reference)
    if not isinstance(method, Method):
        raise EnvironmentSetupError(f"method {name!r}: {reference} is {method!r}, and no hpcdistill.method.Method.")
    if not name.isidentifier():
        raise EnvironmentSetupError(f"method {name!r}: must be named as in Python: letters, digits and _.")
    if method.name != name:
        raise EnvironmentSetupError(f"method {name!r}: {reference} calls itself {method.name!r}. Give both one name.")
    if method.settings is not None and not is_dataclass(method.settings):
        raise EnvironmentSetupError(f"method {name!r}: its settings, {method.settings}, are no dataclass.")
    for one in fields(method.settings) if method.settings else ():
        if "help" not in one.metadata:
            raise EnvironmentSetupError(
                f"method {name!r}: its setting {one.name} is not made by hpcdistill.schema.key."
            )
    method.title = method.title or name
    return method


def unknown_method(name: str) -> str:
    """Return what to say of a name that no method has."""
    return f"method is {name!r}. Valid: {', '.join(method_names())}; one of another package needs that installed."


@cache
def described(name: str) -> Method:
    """Return the method that a file names; of one that cannot be imported here what can be said of any: no `driver`."""
    try:
        return find_method(name)
    except (ConfigError, EnvironmentSetupError):
        unknown = Method()
        unknown.name = unknown.title = name
        return unknown


def load_driver(method: Method, config: Config) -> Any:
    """Return the class of a method's `Driver`."""
    return load_object(f"method {method.name!r}", method.driver_of(config))
