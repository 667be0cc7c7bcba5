from pathlib import Path

import pytest

from hpcdistill.cluster.profile import Profile, load_profile, parse_minutes
from hpcdistill.errors import ConfigError
from hpcdistill.schema import describe_keys

SHIPPED = sorted((Path(__file__).parents[3] / "slurm").glob("*.toml"))


def profile(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_text(text)
    return load_profile(str(path))


def test_three_profiles_are_shipped():
    assert [path.stem for path in SHIPPED] == ["cpu", "gpu", "laptop"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_are_right(path):
    found = load_profile(str(path))
    assert found.executor == ("local" if path.stem == "laptop" else "slurm")
    if path.stem == "gpu":
        assert found.resources.gpus_per_node == found.resources.tasks_per_node


def test_an_empty_profile_gives_the_defaults(tmp_path):
    assert profile(tmp_path, "") == Profile()


def test_texts_and_tables(tmp_path):
    found = profile(tmp_path, '[environment]\nmodules = ["a", "b"]\n[environment.variables]\nX = "$HOME/y"\n')
    assert found.environment.modules == ("a", "b")
    assert found.environment.variables == {"X": "$HOME/y"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("2:00:00", 120), ("1:00:01", 61), ("1-0", 1440), ("1-2:30", 1590), ("2-00:00:30", 2881)],
)
def test_times(text, minutes):
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "an hour", "1:2:3:4", "1-", "-5", "0", "0:00:00", "1.5"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigError, match=r"resources\.time"):
        parse_minutes(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[resources]\npartion = 'x'", r"unknown key 'resources.partion' \(did you mean 'resources.partition'\?\)"),
        ("[resource]\nnodes = 1", r"did you mean 'resources'\?"),
        ("[resources]\nnodes = 0", "resources.nodes must be finite and at least 1"),
        ("executor = 'pbs'", "executor is 'pbs'. Valid: slurm, local"),
        ("[environment]\nmodules = 'openmpi'", "environment.modules must be an array of texts"),
        ("[environment]\nmodules = [1]", "environment.modules must be an array of texts"),
        ("[environment]\nvariables = {A = 1}", "environment.variables must be a table of texts"),
        ("[environment]\nvariables = ['A=1']", "environment.variables must be a table of texts"),
        ("[environment]\nvariables = {'A B' = '1'}", "environment.variables: 'A B' is no name of a variable"),
        ("executor = 'local'\n[resources]\npartition = 'x'", "resources.partition means nothing with executor"),
        ("[resources]\ntime = '2'", "too short for restart.signal_delay_seconds=120.*Use at least 3 min"),
        ("[resources]\ntime = 90", "resources.time must be text"),
        ("x = = 1", "not valid TOML"),
    ],
)  # fmt: skip
def test_wrong_profiles_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as info:
        profile(tmp_path, text)
    assert "p.toml" in str(info.value)
    assert "\n" not in str(info.value)


def test_help_lists_every_key():
    text = describe_keys(Profile)
    assert all(key in text for key in ("resources.partition", "launch.mpi", "environment.variables", "4:00:00"))
