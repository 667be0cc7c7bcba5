"""Network architectures as plain data: a name, or a list of layers. No JAX, no MPI.

An `Architecture` is what a kernel backend is asked to evaluate. The named ones are those of Nguyen et al.
(arXiv:2011.00050, arXiv:2107.13034); any other list of the same layers is written as words:

    conv relu conv relu pool flatten dense
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hpcdistill.errors import ConfigError

#: Layers, by the words that name them.
#: conv: 3×3 convolution, SAME padding · relu · pool: 2×2 average pooling, stride 2, odd last row/column dropped ·
#: flatten · gap: global average pooling · dense: fully connected.
LAYERS = ("conv", "relu", "pool", "flatten", "gap", "dense")
KINDS = ("ntk", "nngp")
NAMES_HELP = (
    "FC<depth> and Conv-Vec<depth> with a depth of 1 to 99, ConvNet, ConvNet3, Myrtle-5, Myrtle-7, Myrtle-10, "
    "or a list of layers"
)

_CONV_BLOCK = ("conv", "relu", "pool")
_MYRTLE_BLOCKS = {5: (1, 1, 1), 7: (1, 2, 2), 10: (2, 3, 3)}


@dataclass(frozen=True)
class Architecture:
    """An infinitely wide network and which of its kernels is meant.

    Attributes:
        name: as the user wrote it.
        layers: words from `LAYERS`, first layer first; read-out (`dense`) last.
        kind: "ntk" (neural tangent kernel) or "nngp" (covariance of the Gaussian process).
        w_std, b_std: standard deviations of weights and biases in NTK parameterisation, the same in every layer.
    """

    name: str
    layers: tuple[str, ...]
    kind: str = "ntk"
    w_std: float = 2.0**0.5
    b_std: float = 0.1

    @property
    def is_fully_connected(self) -> bool:
        """Whether the image's geometry plays no part: flatten, then dense and relu alone."""
        return self.layers[0] == "flatten"

    @property
    def n_poolings(self) -> int:
        """Number of 2×2 poolings."""
        return self.layers.count("pool")

    def check_image_size(self, height: int, width: int) -> None:
        """Raise `ConfigError` if a pooling would leave nothing of an image of this size."""
        for done in range(self.n_poolings):
            if min(height, width) >> done < 2:
                raise ConfigError(
                    f"kernel.architecture {self.name!r} has {self.n_poolings} poolings, but images of {height}×{width} "
                    f"pixels allow only {done}. Use an architecture with fewer poolings or larger images."
                )


def parse_architecture(text: str, kind: str = "ntk", w_std: float = 2.0**0.5, b_std: float = 0.1) -> Architecture:
    """Return the architecture that `text` names or lists. Raises `ConfigError` saying what is wrong with it."""
    if kind not in KINDS:
        raise ConfigError(f"kernel.kind {kind!r} is unknown. Valid: {', '.join(KINDS)}.")
    if not w_std > 0 or not b_std >= 0:
        raise ConfigError(f"kernel.w_std must be > 0 and kernel.b_std >= 0, not {w_std} and {b_std}.")
    if math.isinf(w_std * w_std) or math.isinf(b_std * b_std):
        raise ConfigError(f"kernel.w_std and kernel.b_std must have finite squares, not {w_std} and {b_std}.")
    layers = _named_layers(text) or _listed_layers(text)
    return Architecture(name=text, layers=layers, kind=kind, w_std=w_std, b_std=b_std)


def _named_layers(text: str) -> tuple[str, ...] | None:
    if match := re.fullmatch(r"FC([1-9]\d?)", text):
        return ("flatten", *("dense", "relu") * int(match[1]), "dense")
    if match := re.fullmatch(r"Conv-Vec([1-9]\d?)", text):
        return (*("conv", "relu") * int(match[1]), "flatten", "dense")
    if text == "ConvNet":
        return ("conv", "relu", *_CONV_BLOCK * 3, "flatten", "dense")
    if text == "ConvNet3":
        return (*_CONV_BLOCK * 3, "flatten", "dense")
    if match := re.fullmatch(r"Myrtle-(5|7|10)", text):
        first, second, third = (("conv", "relu") * n for n in _MYRTLE_BLOCKS[int(match[1])])
        return ("conv", "relu", *first, "pool", *second, "pool", *third, "gap", "dense")
    return None


def _listed_layers(text: str) -> tuple[str, ...]:
    words = tuple(text.split())
    if len(words) < 2 or not set(words) <= set(LAYERS):
        raise ConfigError(
            f"kernel.architecture {text!r} is unknown. Valid: {NAMES_HELP} such as "
            f"'conv relu conv relu pool flatten dense' (layers: {', '.join(LAYERS)})."
        )
    collapse = [i for i, word in enumerate(words) if word in ("flatten", "gap")]
    if len(collapse) != 1 or words[-1] != "dense":
        raise ConfigError(f"kernel.architecture {text!r} must have exactly one of flatten and gap, and end with dense.")
    before, after = words[: collapse[0]], words[collapse[0] + 1 :]
    if "dense" in before or not set(after) <= {"dense", "relu"}:
        raise ConfigError(
            f"kernel.architecture {text!r}: conv and pool stand before {words[collapse[0]]}, dense after it."
        )
    if _has_relu_without_weights(words):
        raise ConfigError(f"kernel.architecture {text!r}: each relu needs a conv or dense of its own before it.")
    return words


def _has_relu_without_weights(words: tuple[str, ...]) -> bool:
    """Whether a relu does not act on a layer with weights: what comes out then is no Gaussian process."""
    weighted = False
    for word in words:
        if word == "relu" and not weighted:
            return True
        weighted = word not in ("relu", "flatten") and (weighted or word in ("conv", "dense"))
    return False
