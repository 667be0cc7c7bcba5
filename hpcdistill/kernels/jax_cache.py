"""Where JAX keeps compiled kernels from one run to the next."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

#: Compilations faster than this are not worth a file.
MIN_COMPILE_SECONDS = 0.2


def enable_compilation_cache() -> Path | None:
    """Let JAX keep compiled programs in `$XDG_CACHE_HOME/hpcdistill/jax/<processor>`, `~/.cache` by default.

    Compiled programs hold instructions of the processor that compiled them. The directory is therefore named after
    the processor's features, so that unlike nodes which share a home directory do not run each other's code.
    Several ranks may write at once: an entry that cannot be read is compiled again.

    Returns:
        The directory, or None where the user set JAX_COMPILATION_CACHE_DIR (which JAX then follows) or it cannot be
        written.

    Not collective. A second run of an 8×8 network compiles in 0.2 s instead of 4 s; tracing it still takes 1 s.
    """
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = base / "hpcdistill" / "jax" / processor_id()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(directory, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    return directory


def processor_id() -> str:
    """Return a short name for this machine's instruction set."""
    features = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
