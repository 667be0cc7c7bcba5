"""A folder of pictures per class, of all kinds that Pillow reads."""

import os

import numpy as np
import pytest
from PIL import Image

from hpcdistill.data.readers import load_dataset, pictures
from hpcdistill.data.readers.reading import Reading
from hpcdistill.errors import DataError


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def picture(seed, shape=(8, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def two_classes(folder, suffix="png", shape=(8, 6, 3)):
    """Two pictures of a class, and three of another; in order."""
    return np.stack([save(folder / f"{'ab'[i > 1]}/{i}.{suffix}", picture(i, shape)) for i in range(5)])


def load(folder, **reading):
    return load_dataset(f"{folder}/", None, Reading(**reading))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "TIFF", "ppm"])
def test_classes_are_folders(tmp_path, suffix):
    images = two_classes(tmp_path / "own", suffix)
    dataset = load(tmp_path / "own")
    np.testing.assert_array_equal(dataset.train.images, images)
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert (dataset.class_names, dataset.name, dataset.test) == (("a", "b"), "own", None)


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {"quality": 95}), ("jpeg", {"quality": 95}),
                                                 ("webp", {"lossless": True})])  # fmt: skip
def test_compressed_pictures(tmp_path, suffix, options):
    smooth = np.indices((16, 16)).sum(axis=0).astype(np.uint8)[..., np.newaxis] * np.array([8, 4, 2], np.uint8)
    for name in ("a/0", "b/0"):
        save(tmp_path / f"own/{name}.{suffix}", smooth, **options)
    np.testing.assert_allclose(load(tmp_path / "own").train.images[0].astype(int), smooth, atol=8)


def test_splits_are_folders_too(tmp_path):
    for number, split in enumerate(("train", "val", "Test")):
        for i, class_name in enumerate("ab"):
            save(tmp_path / f"own/{split}/{class_name}/0.png", picture(2 * number + i))
    dataset = load(tmp_path / "own", test_share=0.2)
    np.testing.assert_array_equal(dataset.train.images, [picture(i) for i in range(4)])
    np.testing.assert_array_equal(dataset.test.images, [picture(i) for i in (4, 5)])
    assert (dataset.validation, dataset.n_train, dataset.notes) == (2, 2, ())


def test_grey_stays_grey_unless_something_is_coloured(tmp_path):
    images = two_classes(tmp_path / "own", shape=(8, 6))
    np.testing.assert_array_equal(load(tmp_path / "own").train.images[..., 0], images)
    save(tmp_path / "own/b/9.png", picture(9))
    coloured = load(tmp_path / "own").train.images
    assert coloured.shape == (6, 8, 6, 3)
    np.testing.assert_array_equal(coloured[:5], np.repeat(images[..., np.newaxis], 3, axis=3))


def test_palette_transparency_and_turned_pictures(tmp_path):
    grey, folder = picture(0, (8, 8)), tmp_path / "own"
    save(folder / "a/0.png", grey)
    (folder / "b").mkdir()
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(folder / "b/1-grey.webp", lossless=True)
    Image.fromarray(grey > 127).save(folder / "b/2-bits.png")
    alpha = np.where(np.indices((8, 8))[0] < 4, 255, 0).astype(np.uint8)
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(folder / "b/3-alpha.png")
    images = load(folder).train.images[..., 0]
    np.testing.assert_array_equal(images[0], grey)
    np.testing.assert_array_equal(images[1], grey)
    np.testing.assert_array_equal(images[2], np.where(grey > 127, 255, 0))
    np.testing.assert_array_equal(images[3], np.where(alpha, grey, 255))
    colours = picture(1, (8, 8, 3)) // 64 * 64
    save(folder / "b/4-colours.png", colours)
    Image.fromarray(colours).quantize(64).save(folder / "b/5-palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colours).save(folder / "b/6-turned.png", exif=turned)
    images = load(folder).train.images
    np.testing.assert_array_equal(images[4], colours)
    np.testing.assert_array_equal(images[5], colours)
    np.testing.assert_array_equal(images[6], np.rot90(colours, -1))


def test_more_than_8_bits_stay_as_they_are(tmp_path):
    """Nobody knows what is white in 16 bits, of which cameras use 12: as with floats in files, the range shows it."""
    values = np.random.default_rng(0).integers(0, 4096, (4, 8, 8)).astype(np.uint16)
    for i, value in enumerate(values):
        (tmp_path / f"own/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(value).save(tmp_path / f"own/{i % 2}/{i}.png")
    dataset = load(tmp_path / "own")
    np.testing.assert_array_equal(dataset.train.images[..., 0], values[[0, 2, 1, 3]].astype(np.float32))
    assert dataset.display_range == (values.min(), values.max())
    Image.fromarray((values[0] / 4095).astype(np.float32)).save(tmp_path / "own/0/9.tif")
    np.testing.assert_array_equal(load(tmp_path / "own").train.images[2, ..., 0], (values[0] / 4095).astype(np.float32))
    save(tmp_path / "own/1/8.png", picture(0, (8, 8)))
    with pytest.raises(DataError, match=r"pictures of 8 bits \(1/8.png\) and of more \(0/0.png\) have other units"):
        load(tmp_path / "own")


def test_numbers_are_in_their_order_and_what_lies_beside_splits_is_said(tmp_path):
    for number, name in enumerate(["train/1", "train/2", "train/10", "test/10", "holdout/1"]):
        save(tmp_path / f"own/{name}/0.png", picture(number))
    dataset = load(tmp_path / "own")
    assert dataset.class_names == ("1", "2", "10")
    assert dataset.test.labels.tolist() == [2]
    assert dataset.notes == (f"{tmp_path}/own also has 'holdout', which is not used",)


def test_links_that_lead_back_or_nowhere(tmp_path):
    two_classes(tmp_path / "own")
    (tmp_path / "own/a/again").symlink_to(tmp_path / "own/a")
    assert len(load(tmp_path / "own").train) == 5
    (tmp_path / "own/a/nowhere.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(DataError, match="a/nowhere.png: cannot be read"):
        load(tmp_path / "own")


def test_a_picture_that_is_changed_in_place_is_read_again(tmp_path):
    """Of the same size, and with the same time of its last change as somebody has set it."""
    two_classes(tmp_path / "own", "ppm")
    path = tmp_path / "own/a/0.ppm"
    before, times = load(tmp_path / "own").train.images[0], path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not np.array_equal(load(tmp_path / "own").train.images[0], before)


def test_several_sizes_need_one(tmp_path):
    save(tmp_path / "own/a/0.png", np.full((10, 20), 200, np.uint8))
    save(tmp_path / "own/b/0.png", np.full((8, 8), 100, np.uint8))
    with pytest.raises(DataError, match="pictures are of 2 sizes, from 8×8 to 10×20. Give one with data.size"):
        load(tmp_path / "own")
    for fit, corner in (("crop", 200), ("stretch", 200), ("pad", 0)):
        images = load(tmp_path / "own", size=4, fit=fit).train.images
        assert images.shape == (2, 4, 4, 1)
        assert (images[0, 0, 0, 0], images[0, 2, 2, 0], images[1].min()) == (corner, 200, 100)


def test_all_bad_pictures_are_named_at_once(tmp_path):
    two_classes(tmp_path / "own")
    (tmp_path / "own/a/empty.png").touch()
    whole = (tmp_path / "own/b/2.png").read_bytes()
    (tmp_path / "own/b/cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "own/b/text.jpg").write_text("no picture")
    with pytest.raises(DataError) as caught:
        load(tmp_path / "own")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "3 of 8 pictures cannot be read",
        "a/empty.png: is empty",
        "b/cut.png: ",
        "b/text.jpg: is no picture",
    ):
        assert part in message


def test_what_is_kept_is_read_until_the_folder_changes(tmp_path, monkeypatch, data_folder):
    folder = tmp_path / "own"
    two_classes(folder)
    calls, read = [], pictures._read
    monkeypatch.setattr(pictures, "_read", lambda *arguments: calls.append(arguments) or read(*arguments))
    first = load(folder).train.images
    np.testing.assert_array_equal(load(folder).train.images, first)
    assert len(calls) == 5
    load(folder, size=5)
    assert len(calls) == 10
    save(folder / "a/1.png", picture(7))
    os.utime(folder / "a/1.png", ns=(1, 1))
    np.testing.assert_array_equal(load(folder).train.images[1], picture(7))
    assert len(list(data_folder.rglob("*.npz"))) == 1


def test_many_are_read_by_several_processes(tmp_path, monkeypatch):
    images = two_classes(tmp_path / "own")
    monkeypatch.setattr(pictures, "_WORTH_PROCESSES", 2)
    monkeypatch.setattr(pictures, "_AT_ONCE", 2)
    told = []
    dataset = load_dataset(f"{tmp_path}/own", None, Reading(), lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(dataset.train.images, images)
    assert told == [(2, 5), (4, 5), (5, 5)]


BAD = {
    "nothing": ([], ["no such file or folder"]),
    "one class": (["a/0.png"], ["has 1 folder in it"]),
    "an empty class": (["a/0.png", "b/notes.txt"], ["own/b: holds no pictures"]),
    "no training split": (["test/a/0.png", "test/b/0.png"], ["has test, but no 'train'"]),
    "splits in classes": (["a/train/0.png", "a/test/0.png", "b/train/0.png"], ["own/a: has a folder 'test'", "test/a"]),
    "two training splits": (["train/a/0.png", "train/b/0.png", "Train/a/0.png"], ["may each be the train split"]),
    "a name of two lines": (["a\nb/0.png", "c/0.png"], ["the name of a class is 'a\\nb'"]),
    "a name that is no text": (["a\udcff/0.png", "c/0.png"], ["the name of a class is 'a\\udcff'"]),
    "a class that is only tested": (
        ["train/a/0.png", "train/b/0.png", "test/c/0.png"],
        ["own/test: has a folder 'c', which is no class of"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_folders_that_cannot_be_used(tmp_path, data_error, case):
    files, parts = BAD[case]
    for name in files:
        save(tmp_path / "own" / name, picture(0)) if name.endswith("png") else (
            (tmp_path / "own" / name).parent.mkdir(parents=True),
            (tmp_path / "own" / name).touch(),
        )
    data_error(tmp_path / "own", None, *parts)


def test_other_files_are_counted(tmp_path):
    two_classes(tmp_path / "own")
    (tmp_path / "own/a/notes.txt").touch()
    (tmp_path / "own/a/.hidden.png").touch()
    assert load(tmp_path / "own").notes[0].endswith(".pgm, .gif, .jfif): 1")


def test_what_decoders_say_of_damage_is_in_the_error_alone(tmp_path, capfd):
    """libtiff writes to standard error by itself."""
    two_classes(tmp_path / "own")
    Image.fromarray(picture(0, (20, 30, 3))).save(tmp_path / "own/a/lzw.tif", compression="tiff_lzw")
    raw = bytearray((tmp_path / "own/a/lzw.tif").read_bytes())
    raw[40:140] = 100 * b"\xff"
    (tmp_path / "own/a/lzw.tif").write_bytes(raw)
    with pytest.raises(DataError, match="a/lzw.tif: decoder error"):
        load(tmp_path / "own")
    assert capfd.readouterr() == ("", "")
