"""Which kernel backends there are. Light: a login node reads it. `hpcdistill.kernels.select` chooses among them."""

from __future__ import annotations

from hpcdistill.errors import ConfigError
from hpcdistill.plugins import find, known

#: Where the class of each backend is: imported only when asked. In order of preference, the most special first and the
#: most general last. A backend that serves fewer cases faster is one more line above those that it replaces. What other
#: packages add is taken where it is asked for by name.
BACKENDS = {
    "fc": "hpcdistill.kernels.fully_connected:FullyConnectedBackend",
    "cuda": "hpcdistill.kernels.cuda:CudaBackend",
    "native": "hpcdistill.kernels.native:NativeBackend",
    "tangents": "hpcdistill.kernels.tangents:TangentsBackend",
}
AUTO = "auto"


def backend_reference(name: str) -> str:
    """Return "module:class" of a backend; `ConfigError` where there is none of that name. Not collective."""
    reference = find("backends", BACKENDS, name)
    if reference is None:
        raise ConfigError(
            f"kernel.backend {name!r} is unknown. Valid: {', '.join((AUTO, *known('backends', BACKENDS)))}; "
            "one of another package needs that installed."
        )
    return reference


def check_backend_name(name: str) -> None:
    """Raise `ConfigError` unless this is "auto" or the name of a backend. Not collective."""
    if name != AUTO:
        backend_reference(name)


def is_interchangeable(name: str) -> bool:
    """Tell whether a kernel is the same, to rounding, by all backends of which this holds: auto, and this package's.

    One of another package may compute something else.
    """
    return name == AUTO or name in BACKENDS


def usable_anywhere(name: str) -> str:
    """Return what stands for a backend on another machine: "auto" for those that are interchangeable, else itself."""
    return AUTO if is_interchangeable(name) else name
