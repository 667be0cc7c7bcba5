"""A distilled set in the files of others: pictures in a folder per class, and PyTorch's tensors. Needs no MPI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from hpcdistill.errors import ConfigError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.support_origin import support_classes
from hpcdistill.labels_file import write_labels
from hpcdistill.torch_file import write_torch


def export_images(checkpoint: Checkpoint, folder: Path) -> None:
    """Write each image as it looks as `CLASS/NUMBER.png`, and `labels.csv`: file, class, and the label's entries.

    Args:
        folder: is made; it must not be there, or be empty.

    Raises:
        CheckpointError: an array is missing.
        ConfigError: the folder holds something, or images have neither 1 nor 3 channels.
        OSError: it cannot be written.
    """
    images, labels = checkpoint.images("support/images_display"), checkpoint.array("support/labels")
    names, classes = checkpoint.class_names(), support_classes(checkpoint)
    if images.shape[3] not in (1, 3):
        raise ConfigError(
            f"{folder}: pictures have 1 or 3 channels, the images have {images.shape[3]}. Use --format npz."
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty. Give another folder with --output, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    folders = class_folders(names)
    files = [f"{folders[k]}/{number:05d}.png" for number, k in enumerate(classes)]
    for file, image in zip(files, images, strict=True):
        (folder / file).parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(folder / file)
    write_labels(folder, names, zip(files, (names[k] for k in classes), labels, strict=True))


def class_folders(names: list[str]) -> list[str]:
    """Return a name for a folder of each class, in an order that is that of the classes where these are many digits."""
    width = len(str(len(names) - 1))
    cleaned = [re.sub(r"[^\w.+-]+", "_", name).strip("._") or "class" for name in names]
    in_order = cleaned == sorted(cleaned) and len(set(cleaned)) == len(cleaned)
    return cleaned if in_order else [f"{k:0{width}d}_{name}" for k, name in enumerate(cleaned)]


def export_torch(checkpoint: Checkpoint, file: BinaryIO) -> None:
    """Write a dictionary of tensors as `torch.load` reads it; PyTorch is not needed.

    `images` `(n,c,h,w)` float32 preprocessed, `images_display` the same uint8 as they look, `labels` `(n,classes)`
    float32, `mean`, `std` `(c,)`, `class_names`, and `config` (TOML).

    Raises:
        CheckpointError: an array is missing.
    """
    images, shown = checkpoint.images("support/images"), checkpoint.images("support/images_display")
    content: dict[str, np.ndarray | list[str] | str] = {
        "images": np.moveaxis(images, 3, 1).astype(np.float32),
        "images_display": np.ascontiguousarray(np.moveaxis(shown, 3, 1)),
        "labels": checkpoint.array("support/labels").astype(np.float32),
        "mean": checkpoint.array("preprocess/mean").astype(np.float32),
        "std": checkpoint.array("preprocess/std").astype(np.float32),
        "class_names": checkpoint.class_names(),
        "config": checkpoint.attribute("config"),
    }
    write_torch(file, content)
