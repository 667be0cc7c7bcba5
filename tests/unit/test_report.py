"""The HTML report: one well-formed file with everything in it, whatever the run and the names in it."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from reports import Page, make_checkpoint, make_records

from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.export import contact_sheet
from hpcdistill.io.report.document import report
from hpcdistill.io.report.facts import Facts

PUBLISHED = {"arXiv:0000.00000": {1: 20.0, 2: 70.0}, "others": {50: 99.0}}


def page_of(checkpoint, records=(), published=PUBLISHED):
    text = report(checkpoint, records, published)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    return Page(text)


def full_page(**options):
    checkpoint = make_checkpoint(**options)
    return page_of(checkpoint, make_records(checkpoint))


FIGURES = {
    "kip": ["Images", "Labels", "Labels together", "Over the steps", "Against the number of images"],
    "label_solve": ["Images", "Labels", "Labels together", "Against the number of images"],
    "krr": ["Images", "Draws", "Against the number of images"],
}


@pytest.mark.parametrize(("method", "channels"), [("kip", 1), ("kip", 2), ("label_solve", 3), ("krr", 1)])
def test_every_method_with_everything_measured(method, channels):
    page = full_page(method=method, channels=channels)
    assert page.figures == FIGURES[method] + ["Confusion matrix", "Accuracy of each class"]
    for picture in page.pictures():
        if picture.startswith(b"\x89PNG"):
            assert Image.open(io.BytesIO(picture)).width > 100
        else:
            assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert {"script", "link", "iframe", "object"} & set(page.tags) == set()


def test_nothing_is_fetched():
    checkpoint = make_checkpoint()
    text = report(checkpoint, (), PUBLISHED)
    assert "@import" not in text
    assert "url(" not in text
    assert re.findall(r"https?://", text) == []


def test_same_input_gives_the_same_report():
    assert report(make_checkpoint(), (), PUBLISHED) == report(make_checkpoint(), (), PUBLISHED)


def test_text_from_the_file_is_escaped():
    evil = "</pre><script>x</script>&amp;"
    checkpoint = make_checkpoint("kip", ("<b>&", "c"), 1, 1, f'data.name="{evil}.npz"')
    checkpoint.attributes.update(git_commit=evil, hpcdistill_version=evil)
    page = page_of(checkpoint)
    assert page.tags.count("script") == 0
    assert page.text.count(evil) >= 5
    assert "b" not in page.tags[: page.tags.index("figcaption")]


def test_figures_of_the_run_and_beside_published_ones():
    page = page_of(make_checkpoint())
    for words in ("90.00% (step 40)", "70.00%", "+20.00", "40.0 s"):
        assert words in page.cells
    assert "others" not in page.cells  # has nothing of two images per class
    assert "−" in page_of(make_checkpoint(), (), {"better": {2: 99.5}}).text


def test_natural_images_are_a_mean_over_draws():
    assert "51.00% ± 1.00% (draws: 3)" in page_of(make_checkpoint("krr")).cells


def test_further_measurements():
    cells = full_page().cells
    for words in (
        "FC7 NTK",
        "43.21%",
        "30.00% ± 7.07%",
        "60.00%",
        "ConvNet NTK: width 77, standard",
        "50.00%",
        "25.00% ± 7.07%",
    ):
        assert words in cells
    assert "FC8 NTK" not in cells  # of another support
    for other in ("ConvNet NTK, solve.reg=1000.0", "ConvNet NTK, data.name=x.npz", "ConvNet NTK, seed=7"):
        assert other in cells


@pytest.mark.parametrize("method", FIGURES)
def test_without_a_test_split(method):
    page = page_of(make_checkpoint(method, accuracy=False))
    assert any(cell.startswith("not measured") for cell in page.cells)
    assert "nan" not in page.text.lower()
    assert "Against the number of images" not in page.figures


@pytest.mark.parametrize(("classes", "per_class"), [(1, 1), (2, 1), (100, 1), (7, 20)])
def test_any_number_of_classes_and_images(classes, per_class):
    names = tuple(f"a class with a long name {k}" for k in range(classes))
    assert "Images" in full_page(names=names, per_class=per_class).figures


def test_labels_that_were_not_learned_are_not_drawn():
    checkpoint = make_checkpoint()
    checkpoint.arrays["support/labels"][:] = Facts(checkpoint).original_labels
    page = page_of(checkpoint)
    assert "Labels" not in page.figures
    assert "those that the run started with" in page.text


def test_labels_start_as_centred_one_hot_in_the_order_of_classes():
    facts = Facts(make_checkpoint("kip", ("a", "b"), 1, 2, "support.label_scale=3.0"))
    np.testing.assert_allclose(facts.original_labels, 1.5 * np.array([[1, -1], [1, -1], [-1, 1], [-1, 1]]))


@pytest.mark.parametrize("init", ["noise", "other.h5"])
def test_images_that_started_from_something_else_are_not_called_natural(init):
    text = page_of(make_checkpoint("kip", ("a", "b"), 1, 1, f"support.init={init}")).text
    assert "started from (natural" not in text


MISSING = ["support/labels", "support/images_display", "support/initial_display", "history/step", "history/loss"]


@pytest.mark.parametrize("name", MISSING)
def test_an_array_that_is_missing_is_named(name):
    whole = make_checkpoint()
    part = Checkpoint({key: array for key, array in whole.arrays.items() if key != name}, whole.attributes)
    with pytest.raises(CheckpointError, match=f"/{name}, which this needs.*Use another checkpoint"):
        report(part, (), PUBLISHED)


@pytest.mark.parametrize("name", ["config", "class_names", "git_commit", "method", "dataset", "step"])
def test_attributes_that_are_missing(name):
    checkpoint = make_checkpoint()
    del checkpoint.attributes[name]
    if name == "git_commit":  # is shown where it is there
        assert "git commit" not in page_of(checkpoint).cells
        return
    with pytest.raises(CheckpointError, match=f"no attribute {name}"):
        report(checkpoint, (), PUBLISHED)


def test_labels_that_do_not_fit_the_classes():
    checkpoint = make_checkpoint()
    checkpoint.attributes["class_names"] += "\none more"
    with pytest.raises(CheckpointError, match="does not fit 4 class names"):
        report(checkpoint, (), PUBLISHED)


@pytest.mark.parametrize("name", ["loss", "step"])
def test_columns_of_the_history_that_do_not_fit_each_other(name):
    checkpoint = make_checkpoint()
    checkpoint.arrays[f"history/{name}"] = np.zeros(2)
    with pytest.raises(CheckpointError, match=r"/history/\w+ \(\d+,\) has not one number for each of \(\d+,\) rows"):
        page_of(checkpoint)


@pytest.mark.parametrize("shape", [(3, 8, 8, 3), (6,), (6, 0, 8, 3)], ids=str)
def test_images_that_are_none(shape):
    checkpoint = make_checkpoint()
    checkpoint.arrays["support/images_display"] = np.zeros(shape, np.uint8)
    for show in (page_of, lambda checkpoint: contact_sheet(checkpoint, {"images_display": "x"})):
        with pytest.raises(CheckpointError, match=r"/support/images_display \(.*\) are no \d+ images"):
            show(checkpoint)


DAMAGE = {
    "confusion of another data set": {"confusion": [[1, 2], [3, 4]]},
    "accuracies per class too few": {"per_class": [0.1]},
    "word for a number": {"accuracy": "good"},
    "no accuracies": {"kind": "natural", "accuracies": []},
    "what is missing": {"kind": "transfer"},
}


@pytest.mark.parametrize("changed", DAMAGE.values(), ids=list(DAMAGE))
def test_records_that_cannot_be_used(changed):
    record = make_records(make_checkpoint())[0] | changed
    with pytest.raises(CheckpointError, match=r"evaluations/\w+-0123.json cannot be used.*measure anew"):
        report(make_checkpoint(), [record], PUBLISHED)


def test_records_of_kinds_to_come_are_left_out():
    assert report(make_checkpoint(), [{"kind": "new"}], {}) == report(make_checkpoint(), (), {})
