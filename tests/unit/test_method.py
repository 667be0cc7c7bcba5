"""The registry of methods, and what is said of those of other packages that cannot be used."""

from dataclasses import dataclass
from importlib import metadata

import pytest

from hpcdistill import method, plugins
from hpcdistill.config import config_class, parse_config, parse_stored
from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.schema import describe_keys


class NoDataclass:
    steps = 3


@dataclass(frozen=True)
class NoKey:
    steps: int = 3


def make(called, settings=None):
    return type(called, (method.Method,), {"name": called, "help": "something", "settings": settings})()


GOOD, OTHER, UNFIT, DATA, KIP = make("good"), make("other"), make("unfit", NoDataclass), make("data"), make("kip")
KEYLESS, CLASS, NONE = make("keyless", NoKey), type(GOOD), None


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Methods of another package, some of them broken."""
    names = {"good": "GOOD", "misnamed": "OTHER", "unfit": "UNFIT", "data": "DATA", "kip": "KIP", "typo": "NOTHING",
             "my-method": "GOOD", "keyless": "KEYLESS", "a_class": "CLASS", "none": "NONE"}  # fmt: skip
    references = {name: f"test_method:{attribute}" for name, attribute in names.items()}
    monkeypatch.setattr(plugins, "added", lambda group: references | {"absent": "not_there:METHOD"})
    method.find_method.cache_clear()
    yield
    method.find_method.cache_clear()


def test_one_without_settings():
    assert parse_config('method = "good"').method == "good"


@pytest.mark.parametrize(("name", "error", "message"), [
    ("absent", EnvironmentSetupError, "method 'absent': not_there:METHOD.* cannot be imported .*not_there.*Mend"),
    ("typo", EnvironmentSetupError, "method 'typo': test_method:NOTHING.* cannot be imported .*NOTHING"),
    ("misnamed", EnvironmentSetupError, "method 'misnamed': test_method:OTHER calls itself 'other'"),
    ("unfit", EnvironmentSetupError, "method 'unfit': its settings, .*NoDataclass.*, are no dataclass"),
    ("keyless", EnvironmentSetupError, "method 'keyless': its setting steps is not made by hpcdistill.schema.key"),
    ("a_class", EnvironmentSetupError, "method 'a_class': .*:CLASS is <class .*, and no hpcdistill.method.Method"),
    ("none", EnvironmentSetupError, "method 'none': test_method:NONE is None"),
    ("data", ConfigError, "configuration: method is 'data', which is a name of any"),
    ("my-method", EnvironmentSetupError, "method 'my-method': must be named as in Python"),
    ("unknown", ConfigError, "configuration: method is 'unknown'. Valid: kip, label_solve, krr, good, .*needs that"),
])  # fmt: skip
def test_what_cannot_be_used(name, error, message):
    with pytest.raises(error, match=message):
        parse_config(f'method = "{name}"')


def test_no_text():
    with pytest.raises(ConfigError, match="method must be text"):
        parse_config("method = [1]")


def test_broken_ones_do_not_disturb_the_others():
    assert list(method.usable_methods()) == ["kip", "label_solve", "krr", "good", "data"]
    assert "good: something" in describe_keys(config_class(method.usable_methods()))


def test_the_name_of_an_own_one_is_the_own_one():
    assert method.find_method("kip") is method.own_methods()["kip"]


def test_of_one_that_is_not_installed_its_name_is_known():
    found = method.described("gone")
    assert (found.title, found.learns_images) == ("gone", False)


def test_sections_of_methods_that_are_gone_are_left_out_of_stored_configurations():
    assert parse_stored("[gone]\nx = 1\n[kip]\nsteps = 7\n").kip.steps == 7
    with pytest.raises(ConfigError, match="unknown key 'gone'"):
        parse_config("[gone]\nx = 1\n")


def test_a_name_that_two_packages_add(tmp_path, monkeypatch):
    for package in ("one", "two"):
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[hpcdistill.readers]\nsame = {package}:Format\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(metadata.entry_points(group="hpcdistill.readers", name="same")) == 2
    plugins._packages.cache_clear()
    with pytest.raises(EnvironmentSetupError, match="'same' is added to hpcdistill.readers by several .*: one, two"):
        plugins.find("readers", {}, "same")
    assert plugins.find("readers", {"same": "own:Format"}, "same") == "own:Format"
    plugins._packages.cache_clear()
