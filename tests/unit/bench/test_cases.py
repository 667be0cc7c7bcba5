"""What the command line of `bench` takes and refuses."""

import os

import pytest

from hpcdistill.bench.cases import DEFAULT_CASES, Case, check_threads, parse_case, parse_pairs, parse_shape
from hpcdistill.errors import ConfigError

CORES = len(os.sched_getaffinity(0))


def test_what_is_right_is_read():
    assert parse_case("conv relu flatten dense@4x5x2") == Case("conv relu flatten dense", (4, 5, 2))
    assert parse_case("Myrtle-5@32x32x3").shape_text == "32x32x3"
    assert parse_shape("28x28x1") == (28, 28, 1)
    assert parse_pairs("10x64") == (10, 64)


@pytest.mark.parametrize("text", DEFAULT_CASES)
def test_default_cases_are_valid(text):
    case = parse_case(text)
    assert f"{case.architecture}@{case.shape_text}" == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Foo@3x3", "'3x3' must be HEIGHTxWIDTHxCHANNELS"),
        ("ConvNet", "NAME@HEIGHTxWIDTHxCHANNELS"),
        ("@32x32x3", "NAME@HEIGHTxWIDTHxCHANNELS"),
        ("Foo@32x32x3", "'Foo' is unknown. Valid: FC<depth>"),
        ("ConvNet@4x4x1", "3 poolings"),
        ("ConvNet@32x32x0", "HEIGHTxWIDTHxCHANNELS"),
        ("ConvNet@32x-1x3", "HEIGHTxWIDTHxCHANNELS"),
    ],
)
def test_wrong_cases_are_refused_with_the_remedy(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_case(text)


@pytest.mark.parametrize("text", ["", "3", "3x", "x3", "3x0", "3x4x5", "axb", "3 x 4"])
def test_wrong_pairs_are_refused(text):
    with pytest.raises(ConfigError, match="ROWSxCOLUMNS, as 10x64"):
        parse_pairs(text)


def test_threads_are_those_of_the_cores_unless_given():
    assert check_threads([], "native") == tuple(dict.fromkeys((CORES, 1)))
    assert check_threads([], "cuda") == (CORES,)
    assert check_threads([1, 1], "native") == (1,)
    with pytest.raises(ConfigError, match=f"Give at most {CORES}"):
        check_threads([1, CORES + 1], "native")
