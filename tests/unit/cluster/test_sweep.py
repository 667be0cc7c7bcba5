import pytest

from hpcdistill.cluster.sweep import expand_sweeps
from hpcdistill.errors import ConfigError


def test_all_combinations_the_last_key_fastest():
    points = expand_sweeps(["seed=0,1", "kip.learning_rate=1e-2, 4e-2"])
    assert [point.settings for point in points] == [
        [f"seed={seed}", f"kip.learning_rate={rate}"] for seed in (0, 1) for rate in ("1e-2", "4e-2")
    ]
    assert points[1].name == "seed=0,learning_rate=4e-2"


def test_no_sweep():
    assert expand_sweeps([]) == []


def test_names_are_folders():
    first, second = expand_sweeps(["kernel.architecture=FC1,conv relu flatten dense"])
    assert (first.name, second.name) == ("architecture=FC1", "architecture=conv-relu-flatten-dense")
    assert expand_sweeps(["data.name=/a/b.npz,mnist"])[0].name == "name=a-b.npz"


def test_texts_with_commas():
    assert [p.values["a.b"] for p in expand_sweeps(["""a.b="x,y",'z'"""])] == ["x,y", "z"]


def test_keys_that_end_alike_keep_their_sections():
    (point,) = expand_sweeps(["solve.method=auto", "label_solve.method=qr"])
    assert point.name == "solve.method=auto,label_solve.method=qr"


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["seed"], "must have the form section.key=a,b,c"),
        (["seed="], "must have the form"),
        (["=1,2"], "must have the form"),
        (["seed=1,,2"], "must have the form"),
        (["seed=1,1"], "has a value twice"),
        (["seed=1", "seed=2"], "given twice"),
        (["data.name=a/b,a-b"], "two points would have the same folder"),
        (["data.name='a,b"], "Quote all texts, or none"),
        (["data.name='a',b"], "Quote all texts, or none"),
    ],
)
def test_what_is_no_sweep(sweeps, message):
    with pytest.raises(ConfigError, match=message):
        expand_sweeps(sweeps)
