"""Which arrays of a user's file are what, told by their names: whoever wrote it did not ask us. Not collective."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdistill.errors import DataError

#: Words of a name, by what they stand for.
SPLITS = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}
_ROLES = {
    "images": {"images", "image", "imgs", "img", "x", "data", "inputs", "features", "pixels"},
    "labels": {"labels", "label", "y", "target", "targets"},
}
#: Keys by which a user may say it.
_SAID = {"images": ("train", "images"), "labels": ("train", "labels"),
         "test_images": ("test", "images"), "test_labels": ("test", "labels")}  # fmt: skip
_CLASS_NAMES = {"class_names", "classes", "label_names", "target_names"}
_EXAMPLES = "images and labels, train_images and train_labels, x_train and y_train, data and target"


@dataclass(frozen=True)
class Roles:
    """Names of the arrays of a file, by what they are.

    Attributes:
        images, labels: by split: "train", "validation", "test"; the same splits in both.
        class_names: of the array with the names of the classes, or None.
        ignored: what is none of these.
    """

    images: Mapping[str, str]
    labels: Mapping[str, str]
    class_names: str | None
    ignored: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """All names that are used."""
        names = () if self.class_names is None else (self.class_names,)
        return (*self.images.values(), *self.labels.values(), *names)


def find_roles(path: Path, names: Sequence[str], said: Mapping[str, str], section: str = "data") -> Roles:
    """Tell what the arrays of a file are by the words in their names: `x_train`, `train_images`, `train/images`.

    Args:
        path: the file, for messages.
        names: of all its arrays.
        said: what the user says, by key: "images", "labels", "test_images", "test_labels"; "" or nothing: to be told.
        section: of the configuration, where the user may say so.

    Raises:
        DataError: there are no training images, or labels; or two arrays may be meant.
    """
    said = {key: name.lstrip("/") for key, name in said.items() if name}
    for key, name in said.items():
        if name not in names:
            raise DataError(f"{path}: {section}.{key}={name!r}, but the file has {_listed(names)}.")
        for other, same in said.items():
            if same == name and other != key:
                raise DataError(f"{path}: {section}.{key} and {section}.{other} are both {name!r}. Each needs its own.")
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if name not in said.values() and (meaning := _meaning(name)):
            found.setdefault(meaning, []).append(name)
    for key, name in said.items():
        found[_SAID[key]] = [name]
    for (split, role), several in found.items():
        if len(several) > 1:
            key = _key_of(section, split, role)
            remedy = f"Say which with {key}" if key else "Leave one of them out"
            raise DataError(f"{path}: the {role} of the {split} split may be {_listed(several, ' or ')}. {remedy}.")
    chosen = {role: {split: one[0] for (split, r), one in found.items() if r == role} for role in _ROLES}
    _check_pairs(path, names, chosen, section, said)
    class_names = [name for name in names if _words(name) and "_".join(_words(name)) in _CLASS_NAMES]
    used = {*chosen["images"].values(), *chosen["labels"].values(), *class_names[:1]}
    ignored = tuple(name for name in names if name not in used)
    return Roles(chosen["images"], chosen["labels"], class_names[0] if class_names else None, ignored)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())


def _meaning(name: str) -> tuple[str, str] | None:
    """Return split and role, where a name consists of a word for the role and at most one for the split."""
    words = _words(name)
    roles = [role for word in words for role, known in _ROLES.items() if word in known]
    splits = [split for word in words for split, known in SPLITS.items() if word in known]
    if len(roles) != 1 or len(splits) > 1 or len(words) != len(roles) + len(splits):
        return None
    return (splits[0] if splits else "train"), roles[0]


def _key_of(section: str, split: str, role: str) -> str:
    """Return the key, with its section, by which a user says which array it is, "" where there is none."""
    if section == "support" and split == "test":
        return ""
    return next((f"{section}.{key}" for key, meaning in _SAID.items() if meaning == (split, role)), "")


def _check_pairs(
    path: Path, names: Sequence[str], chosen: Mapping[str, Mapping[str, str]], section: str, said: Mapping[str, str]
) -> None:
    images, labels = chosen["images"], chosen["labels"]
    for role, there in chosen.items():
        if "train" not in there:
            odd = [f"{section}.{key} is {name!r}, which looks like {meaning[1]}" for key, name in said.items()
                   if (meaning := _meaning(name)) and meaning[1] == role and _SAID[key][1] != role]  # fmt: skip
            raise DataError(
                f"{path}: which array holds the training {role}? The file has {_listed(names)}"
                f"{''.join(f' ({words})' for words in odd)}. "
                f'Say so with {section}.{role} = "NAME", or use names such as {_EXAMPLES}.'
            )
    for split in {*images, *labels}:
        if split not in images or split not in labels:
            there, missing = (images, "labels") if split in images else (labels, "images")
            key = _key_of(section, split, missing)
            say = f", say which does with {key}" if key else ""
            raise DataError(
                f"{path}: {there[split]!r} seems to belong to the {split} split, but no array holds its {missing}; "
                f"the file has {_listed(names)}. Add them{say}, or leave {there[split]!r} out."
            )


def _listed(names: Sequence[str], joint: str = ", ") -> str:
    return joint.join(repr(name) for name in names) or "no arrays"
