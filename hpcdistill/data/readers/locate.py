"""Finding the files of a known data set on disk."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from hpcdistill.data.readers.files import expand_home, open_error
from hpcdistill.data.registry import KnownDataset, Layout
from hpcdistill.errors import DataError


@dataclass(frozen=True)
class Located:
    """What one folder has of one layout.

    Attributes:
        layout: the layout.
        folder: where its files are, or should be.
        paths: file name → path, of those that are there.
    """

    layout: Layout
    folder: Path
    paths: dict[str, Path]

    @property
    def missing(self) -> list[str]:
        """Names of the files that are not there."""
        return [name for name in self.layout.files if name not in self.paths]


def data_root(root: str | os.PathLike | None) -> Path:
    """Return `root`; by default `$HPCDISTILL_DATA`, else `~/.cache/hpcdistill/data`.

    Raises:
        DataError: it starts with `~` and there is no home directory. Not collective.
    """
    return expand_home(root or os.environ.get("HPCDISTILL_DATA") or "~/.cache/hpcdistill/data")


def locate(known: KnownDataset, root: Path) -> Located:
    """Find the layout and folder that have most of the files of `known`.

    Looks into root/NAME, root/FOLDER, root/NAME/FOLDER (FOLDER being the archive's own) and root. Where nothing is
    found, the result says where the preferred layout belongs.

    Raises:
        DataError: no permission to look into a folder. Not collective.
    """
    found = [
        Located(layout, folder, _present(layout.files, folder))
        for layout in known.layouts
        for folder in _folders(known, layout, root)
    ]
    return max(found, key=lambda located: len(located.paths))


def find_archive(known: KnownDataset, layout: Layout, root: Path) -> Path | None:
    """Return the archive of `layout` if it lies in root/NAME or in root. Not collective."""
    paths = [path for folder in (root / known.name, root) for path in _present(layout.downloads, folder).values()]
    return paths[0] if layout.folder and paths else None


def missing_error(known: KnownDataset, located: Located, root: Path) -> DataError:
    """Say which files are missing and how to get them. Not collective."""
    for name in located.missing:
        if (located.folder / name).is_dir():
            return DataError(f"{located.folder / name}: is a directory, a file is expected. Move the file itself here.")
    for layout in known.layouts:
        archive = find_archive(known, layout, root)
        if archive is not None:
            command = f"tar -xzf {shlex.quote(str(archive))} -C {shlex.quote(str(archive.parent))}"
            return DataError(
                f"{archive}: found, but not unpacked. Run `hpcdistill prepare {known.name}` or `{command}`."
            )
    return DataError(
        f"{known.name}: {', '.join(located.missing)} not found in {located.folder}. "
        f"Run `hpcdistill prepare {known.name}`, or {by_hand(known, located, root)}."
    )


def by_hand(known: KnownDataset, located: Located, root: Path) -> str:
    """Say which files to put where, and from which URL. Not collective."""
    layout, folder = located.layout, root / known.name if located.layout.folder else located.folder
    names = [name for name in layout.downloads if layout.folder or name.removesuffix(".gz") in located.missing]
    urls = " or ".join(mirror + (names[0] if len(names) == 1 else "NAME") for mirror in layout.mirrors)
    then = " and unpack it there" if layout.folder else ""
    return f"put {', '.join(names)} into {folder}{then} (from {urls})"


def _folders(known: KnownDataset, layout: Layout, root: Path) -> list[Path]:
    named = root / known.name
    return [named, root / layout.folder, named / layout.folder, root]


def _present(names: tuple[str, ...], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if name not in found and _is_file(path):
                found[name] = path
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise open_error(path, error) from None
