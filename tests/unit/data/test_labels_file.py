"""The list of labels beside pictures."""

import numpy as np
import pytest
from PIL import Image

from hpcdistill.data.readers.distilled import read_distilled
from hpcdistill.errors import DataError
from hpcdistill.labels_file import read_labels_file, write_labels

LABELS = np.random.default_rng(0).normal(size=(2, 3))


def test_what_is_written_is_read_to_the_last_digit(tmp_path):
    names = ["a", "b, c", 'd"e']
    write_labels(tmp_path, names, [("a/0.png", "a", LABELS[0]), ("b/1.png", "b, c", LABELS[1])])
    paths, theirs, labels = read_labels_file(tmp_path)
    assert (paths, theirs) == ([tmp_path / "a/0.png", tmp_path / "b/1.png"], names)
    np.testing.assert_array_equal(labels, LABELS)


BAD = {
    "": "it does not list file, class",
    "file,class,a,b\n": "it does not list file, class",
    "file,class,a,b\n0.png,a,1\n": "it does not list file, class",
    "file,class,a,b\n0.png,a,1,x\n": "could not convert",
    "file,class,a,b\n../0.png,a,1,0\n": "which is not in the folder",
    "file,class,a,b\n/etc/0.png,a,1,0\n": "which is not in the folder",
    "file,class,a,c\n0.png,a,1,0\n": "is of the classes a, c, but the data set has a, b",
    "file,class,a,b\n0.png,a,1,nan\n": "not finite",
}


@pytest.mark.parametrize("text", BAD)
def test_lists_that_cannot_be_used(tmp_path, text):
    folder = tmp_path / "set"
    folder.mkdir()
    for place in (folder, tmp_path):
        Image.new("L", (3, 3)).save(place / "0.png")
    (folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=BAD[text]):
        read_distilled(folder, ["a", "b"])
