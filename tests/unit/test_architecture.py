"""Names of architectures, what is refused, and which image sizes fit."""

import pytest

from hpcdistill.architecture import KINDS, parse_architecture
from hpcdistill.errors import ConfigError

BLOCK = "conv relu pool"


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("FC1", "flatten dense relu dense"),
        ("FC2", "flatten dense relu dense relu dense"),
        ("Conv-Vec2", "conv relu conv relu flatten dense"),
        ("ConvNet", f"conv relu {BLOCK} {BLOCK} {BLOCK} flatten dense"),
        ("ConvNet3", f"{BLOCK} {BLOCK} {BLOCK} flatten dense"),
        ("Myrtle-5", f"conv relu {BLOCK} {BLOCK} conv relu gap dense"),
        ("Myrtle-7", f"conv relu {BLOCK} conv relu {BLOCK} conv relu conv relu gap dense"),
        ("conv  relu pool flatten dense", "conv relu pool flatten dense"),
    ],
)
def test_names_give_layers(name, layers):
    architecture = parse_architecture(name)
    assert architecture.layers == tuple(layers.split())
    assert architecture.name == name
    assert (architecture.kind, architecture.w_std**2, architecture.b_std) == ("ntk", pytest.approx(2), 0.1)


@pytest.mark.parametrize(("name", "convolutions"), [("Myrtle-5", 4), ("Myrtle-7", 6), ("Myrtle-10", 9), ("ConvNet", 4)])
def test_number_of_layers(name, convolutions):
    layers = parse_architecture(name).layers
    assert (layers.count("conv"), layers.count("dense")) == (convolutions, 1)


@pytest.mark.parametrize("name", ["FC0", "FC", "fc1", "FC100", "ConvNet4", "Myrtle-6", "Conv-Vec0", "", "dense"])
def test_unknown_names_list_the_valid_ones(name):
    with pytest.raises(ConfigError, match=r"is unknown\. Valid: FC<depth> and"):
        parse_architecture(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv relu dropout flatten dense", "is unknown"),
        ("conv relu dense", "exactly one of flatten and gap"),
        ("conv flatten gap dense", "exactly one of flatten and gap"),
        ("conv relu flatten", "end with dense"),
        ("dense relu flatten dense", "before flatten, dense after it"),
        ("gap conv dense", "before gap, dense after it"),
    ],
)
def test_impossible_lists_say_why(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_architecture(text)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    assert parse_architecture("FC1", kind).kind == kind


@pytest.mark.parametrize(
    ("kind", "w_std", "b_std"),
    [
        ("nnk", 1, 0),
        ("ntk", 0, 0),
        ("ntk", -1, 0),
        ("ntk", 1, -0.1),
        ("ntk", float("nan"), 0),
        ("ntk", 1e300, 0),
        ("ntk", 1, 1e200),
    ],
)
def test_impossible_parameters_are_refused(kind, w_std, b_std):
    with pytest.raises(ConfigError, match="kernel"):
        parse_architecture("FC1", kind, w_std, b_std)


@pytest.mark.parametrize(
    ("name", "fully_connected", "poolings"),
    [("FC3", True, 0), ("flatten dense", True, 0), ("gap dense", False, 0), ("ConvNet", False, 3)],
)
def test_properties(name, fully_connected, poolings):
    architecture = parse_architecture(name)
    assert (architecture.is_fully_connected, architecture.n_poolings) == (fully_connected, poolings)


@pytest.mark.parametrize(("name", "height", "width"), [("ConvNet", 8, 9), ("Myrtle-5", 4, 7), ("FC1", 1, 1)])
def test_images_large_enough(name, height, width):
    parse_architecture(name).check_image_size(height, width)


@pytest.mark.parametrize(("name", "height", "width", "allowed"), [("ConvNet", 7, 32, 2), ("Myrtle-5", 9, 3, 1)])
def test_images_too_small_say_how_many_poolings_fit(name, height, width, allowed):
    with pytest.raises(ConfigError, match=f"{height}×{width} pixels allow only {allowed}"):
        parse_architecture(name).check_image_size(height, width)


@pytest.mark.parametrize(
    "text",
    ["flatten relu dense", "relu conv flatten dense", "conv relu relu flatten dense", "conv flatten relu dense"],
)
def test_a_relu_without_weights_before_it_is_refused(text):
    with pytest.raises(ConfigError, match="each relu needs a conv or dense"):
        parse_architecture(text)


def test_a_relu_may_stand_after_a_pooled_convolution():
    assert parse_architecture("conv pool relu flatten dense").layers == ("conv", "pool", "relu", "flatten", "dense")
