"""What other packages add to this one, found by name: methods, kernel backends, readers of data.

A package adds something by an entry point of its `pyproject.toml`, which names a module and an object in it:

    [project.entry-points."hpcdistill.methods"]
    random_search = "my_package.search:METHOD"

What this package brings itself is listed in the same form, where each kind of thing has its registry.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from hpcdistill.errors import EnvironmentSetupError


@cache
def _packages(group: str) -> dict[str, dict[str, str]]:
    """Return which packages add what: names of packages by "module:object", by name."""
    from importlib.metadata import entry_points

    found: dict[str, dict[str, str]] = {}
    for one in sorted(entry_points(group=f"hpcdistill.{group}"), key=lambda one: one.name):
        found.setdefault(one.name, {})[one.value] = one.dist.name if one.dist else one.value
    return found


def added(group: str) -> dict[str, str]:
    """Return what installed packages add to "hpcdistill.`group`", as "module:object" by name, in order of names."""
    return {name: list(packages)[-1] for name, packages in _packages(group).items()}


def known(group: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return all of a group as "module:object" by name: this package's `own`, then what others add by other names."""
    return {**own, **{name: reference for name, reference in added(group).items() if name not in own}}


def find(group: str, own: Mapping[str, str], name: str) -> str | None:
    """Return one of them, None where there is none; other packages are asked only where it is not an own one.

    Raises:
        EnvironmentSetupError: more than one package adds it.
    """
    if name not in own and len(packages := _packages(group).get(name, {})) > 1:
        names = ", ".join(sorted(packages.values()))
        raise EnvironmentSetupError(
            f"{name!r} is added to hpcdistill.{group} by several packages: {names}. Keep one of them."
        )
    return own.get(name) or added(group).get(name)


def load_object(name: str, reference: str) -> Any:
    """Return the object of "module:object".

    Args:
        name: of what is added, for messages.

    Raises:
        EnvironmentSetupError: it is not there, or its module cannot be imported.
    """
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute.strip())
    except Exception as error:  # whatever a package of others does while it is imported
        why = " ".join(str(error).split()) or type(error).__name__
        raise EnvironmentSetupError(
            f"{name}: {reference}, which an installed package adds, cannot be imported ({why}). "
            "Mend or remove that package."
        ) from error
