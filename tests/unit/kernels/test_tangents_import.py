"""What is said where neural-tangents cannot be used, and where compiled kernels are kept."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.kernels import jax_cache, tangents_import


def pretend(monkeypatch, **versions):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name.replace("-", "_")) or real(name))


def test_a_missing_package_gives_the_command(monkeypatch):
    monkeypatch.setattr(tangents_import.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentSetupError, match=r"pip install --no-deps neural-tangents==0\.6\.5"):
        tangents_import.import_stax.__wrapped__()


@pytest.mark.parametrize("version", ["0.9.2", "0.12.0.1", "1.0"])
def test_an_untested_jax_is_refused(monkeypatch, version):
    pretend(monkeypatch, jax=version)
    told = rf"JAX 0\.10 and 0\.11, not {version}\. Run: pip install 'jax>=0\.10,<0\.12'"
    with pytest.raises(EnvironmentSetupError, match=told):
        tangents_import.import_stax.__wrapped__()


@pytest.mark.parametrize("version", ["0.10.0", "0.10.2", "0.11.0", "0.11.2"])
def test_every_release_of_a_tested_jax_is_accepted(monkeypatch, version):
    pretend(monkeypatch, jax=version)
    tangents_import._check_versions()


def test_the_package_asks_for_the_tested_jax():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert tangents_import.JAX_REQUIREMENT in project["dependencies"]


def test_another_neural_tangents_is_refused(monkeypatch):
    pretend(monkeypatch, neural_tangents="0.5.0")
    with pytest.raises(EnvironmentSetupError, match=r"0\.5\.0 was not tested"):
        tangents_import.import_stax.__wrapped__()


def test_jax_runs_in_64_bit_mode_on_the_cpu():
    tangents_import.import_stax()
    import jax

    assert jax.numpy.zeros(1).dtype == "float64"
    assert jax.default_backend() == "cpu"


@pytest.fixture
def jax_settings():
    import jax

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_kernels_are_kept_per_processor(monkeypatch, tmp_path, jax_settings):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = jax_cache.enable_compilation_cache()
    assert directory is not None
    assert directory.parent == tmp_path / "hpcdistill" / "jax"
    assert jax_settings.jax_compilation_cache_dir == str(directory)


def test_the_cache_is_left_alone_where_it_cannot_be_written_or_the_user_chose(monkeypatch, tmp_path, jax_settings):
    (tmp_path / "hpcdistill").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert jax_cache.enable_compilation_cache() is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert jax_cache.enable_compilation_cache() is None
