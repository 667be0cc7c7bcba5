"""Import of neural-tangents 0.6.5 on current JAX, without TensorFlow.

The last release of neural-tangents (December 2023) names things that JAX has since moved or dropped, and imports
TensorFlow for an experimental module that nothing here uses. This module gives those names back and leaves that
module out. It is the only place that knows of either.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.jax_runtime import configure_jax

#: JAX releases, "major.minor", on which the tests of the `tangents` backend were run.
TESTED_JAX = ("0.10", "0.11")
JAX_REQUIREMENT = "jax>=0.10,<0.12"  # the same in words of pip, as pyproject.toml has it
NEURAL_TANGENTS_VERSION = "0.6.5"
INSTALL_COMMAND = f"pip install --no-deps neural-tangents=={NEURAL_TANGENTS_VERSION}"

_MOVED_TO_JAX_EXTEND = ("Jaxpr", "JaxprEqn", "Literal", "Var", "ClosedJaxpr", "Primitive")


@functools.cache
def import_stax() -> ModuleType:
    """Import and return `neural_tangents.stax`, with JAX set up by `configure_jax`: 64-bit mode, on the CPU.

    Returns:
        The module `neural_tangents.stax`. Later calls return the same module.

    Raises:
        EnvironmentSetupError: neural-tangents, or something it needs, is missing → run the command in the message;
            JAX or neural-tangents is of a version that this was not tested with → install one that was.

    Not collective.
    """
    _check_versions()
    configure_jax()
    _restore_names()
    sys.modules.setdefault("neural_tangents.experimental", ModuleType("neural_tangents.experimental"))
    try:
        from neural_tangents import stax
        from neural_tangents._src.stax import linear
    except ImportError as error:
        raise EnvironmentSetupError(
            f"neural-tangents cannot be imported ({error}). Run: pip install frozendict opt-einsum && {INSTALL_COMMAND}"
        ) from error
    from hpcdistill.kernels import tangents_convolution

    tangents_convolution.install(linear)
    return stax


def _check_versions() -> None:
    if importlib.util.find_spec("neural_tangents") is None:
        raise EnvironmentSetupError(
            f"neural-tangents, which computes the kernels of this architecture, is not installed. "
            f"Run: {INSTALL_COMMAND}"
        )
    found = importlib.metadata.version("neural-tangents")
    if found != NEURAL_TANGENTS_VERSION:
        raise EnvironmentSetupError(f"neural-tangents {found} was not tested here. Run: {INSTALL_COMMAND}")
    jax_version = importlib.metadata.version("jax")
    if ".".join(jax_version.split(".")[:2]) not in TESTED_JAX:
        raise EnvironmentSetupError(
            f"neural-tangents {found} was tested with JAX {' and '.join(TESTED_JAX)}, not {jax_version}. "
            f"Run: pip install '{JAX_REQUIREMENT}'"
        )


def _restore_names() -> None:
    """Give JAX's modules the attributes that neural-tangents imports from their former places."""
    import jax
    import jax.core
    import jax.extend.core
    import jax.interpreters.ad

    for name in _MOVED_TO_JAX_EXTEND:
        _set_missing(jax.core, name, getattr(jax.extend.core, name))
    # Neither is computed with: zeros_like_p is the key of a table, KeyArray an annotation.
    _set_missing(jax.interpreters.ad, "zeros_like_p", jax.extend.core.Primitive("zeros_like"))
    _set_missing(jax.random, "KeyArray", jax.Array)
    try:
        importlib.import_module("jax.util")
    except ModuleNotFoundError:
        util = ModuleType("jax.util")
        _set_missing(util, "safe_map", _safe_map)
        _set_missing(util, "safe_zip", _safe_zip)
        sys.modules["jax.util"] = util


def _set_missing(module: ModuleType, name: str, value: Any) -> None:
    if not hasattr(module, name):
        setattr(module, name, value)


def _safe_map(function: Callable, *arguments: Any) -> list:
    return [function(*items) for items in zip(*arguments, strict=True)]


def _safe_zip(*arguments: Any) -> list[tuple]:
    return list(zip(*arguments, strict=True))
