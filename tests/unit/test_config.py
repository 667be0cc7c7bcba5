from pathlib import Path

import pytest

from hpcdistill.config import adjusted_keys, config_class, load_config, parse_config, why_not_resumed
from hpcdistill.errors import ConfigError
from hpcdistill.method import usable_methods
from hpcdistill.schema import describe_keys


def test_to_toml_comes_back_the_same():
    config = parse_config("", ["kip.steps=7", "kernel.architecture=conv relu flatten dense", "solve.reg=1e-5"])
    assert parse_config(config.to_toml()) == config
    assert config.kernel.architecture == "conv relu flatten dense"


def test_an_empty_file_gives_the_defaults():
    assert parse_config("") == config_class(usable_methods())()


def test_settings_win_over_the_file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 3\n[kip]\nsteps = 5\nbatch = 70\n")
    config = load_config(path, ["kip.steps=9", "data.name=mnist", "kip.learn_labels=false"])
    assert (config.seed, config.kip.steps, config.kip.batch, config.data.name) == (3, 9, 70, "mnist")
    assert config.kip.learn_labels is False


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            "[kip]\nstep = 3",
            [],
            r"unknown key 'kip.step' \(did you mean 'kip.steps'\?\). Valid here: kip.steps, kip.hours, kip.batch",
        ),
        ("[kpi]\nsteps = 3", [], r"unknown key 'kpi' \(did you mean 'kip'\?\)"),
        ("kip = 3", [], "'kip' must be a section"),
        ("", ["seed=99999999999999999999"], r"seed must be below 2\^63, not 99999999999999999999"),
        ("[kip]\nsteps = 1.5", [], "kip.steps must be a whole number, not 1.5"),
        ("[kip]\nsteps = -1", [], "kip.steps must be finite and at least 0, not -1"),
        ("[kip]\nlearn_labels = 1", [], "kip.learn_labels must be true or false"),
        ("[solve]\nreg = nan", [], "solve.reg must be finite"),
        ("[solve]\nreg = inf", [], "solve.reg must be finite"),
        ("method = 'kipp'", [], "method is 'kipp'. Valid: kip, label_solve, krr"),
        ("[kernel]\nprecision = 'half'", [], "kernel.precision is 'half'. Valid: mixed, float64, float32"),
        ("[kernel]\narchitecture = 'ResNet'", [], "kernel.architecture 'ResNet' is unknown. Valid: FC"),
        ("[kernel]\nw_std = 0.0", [], "kernel.w_std must be > 0"),
        ("[kernel]\nkind = 'cntk'", [], "kernel.kind is 'cntk'. Valid: ntk, nngp"),
        ("[support]\nimages_per_class = 0", [], "support.images_per_class must be at least 1 for method 'kip'"),
        ("[krr]\nregs = 1e-3", [], "krr.regs must be an array of numbers"),
        ("[krr]\nregs = ['a']", [], "krr.regs must be an array of numbers"),
        ("[krr]\nregs = [1e-3, -1]", [], "each number in krr.regs must be finite and at least 0, not -1.0"),
        ("[krr]\nregs = [nan]", [], "each number in krr.regs must be finite and at least 0, not nan"),
        ("[kip]\nwarmup = 301", [], "kip.warmup=301 is longer than the run: kip.steps=300"),
        ("[kip]\nlast_batch = 249", [], "kip.last_batch=249 is less than kip.batch=250"),
        ("x = = 3", [], "not valid TOML"),
        ("", ["kip.steps"], "must have the form section.key=value"),
        ("", ["seed.x=3"], "'seed' must be a section|must be a whole number"),
        ("seed = 1", ["seed.x=3"], "'seed' is not a section"),
    ],
)
def test_wrong_input_is_named(text, settings, message):
    with pytest.raises(ConfigError, match=message) as info:
        parse_config(text, settings, "a.toml")
    assert "\n" not in str(info.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.toml: no such file"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "binary.toml")


def test_a_resumed_run_may_change_the_backend_but_for_one_of_another_package():
    auto, cuda, other = (parse_config("", [f"kernel.backend={name}"]) for name in ("auto", "cuda", "other"))
    assert why_not_resumed(auto, cuda) == ""
    assert "kernel.backend: 'cuda' → 'other'" in why_not_resumed(cuda, other)
    assert "--set kernel.backend=other" in why_not_resumed(other, auto)


def test_what_a_resumed_run_may_change():
    base = parse_config("")
    assert (
        why_not_resumed(base, parse_config("", ["kip.steps=999", "data.root=/elsewhere", "checkpoint.every=1"])) == ""
    )
    changed = parse_config("", ["kernel.architecture=FC1", "preprocess.zca=true"])
    why = why_not_resumed(base, changed)
    assert "(preprocess.zca: False → True; kernel.architecture: 'ConvNet' → 'FC1')" in why
    assert "--set preprocess.zca=false --set kernel.architecture=ConvNet, or start anew" in why
    deep = why_not_resumed(parse_config("", ["kernel.architecture=flatten dense"]), base)
    assert "--set 'kernel.architecture=flatten dense'" in deep


def test_help_lists_every_key():
    text = describe_keys(config_class(usable_methods()))
    assert "kip.learning_rate" in text
    assert "solve.reg" in text
    assert "(mixed | float64 | float32)" in text


def test_names_of_files_mean_the_same_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "c.toml").write_text('[data]\nname = "sub/x.npz"\nroot = "../files"\n[support]\ninit = "y.h5"\n')
    config = load_config("../c.toml")
    assert (config.data.name, config.data.root) == (f"{tmp_path}/sub/x.npz", f"{tmp_path.parent}/files")
    assert config.support.init == f"{tmp_path}/y.h5"
    config = load_config("../c.toml", ["data.name=z.npz", "data.root=~/d", "support.init=noise"])
    assert (config.data.name, config.support.init) == (f"{tmp_path}/here/z.npz", "noise")
    assert config.data.root == str(Path.home() / "d")
    monkeypatch.chdir("/")
    assert parse_config(config.to_toml()) == config
    assert parse_config("", ["data.name=mnist"]).data == parse_config('[data]\nname = "mnist"').data


def test_remedies_of_numerical_errors_may_be_taken_on_the_way():
    old, new = (parse_config("", ["kip.steps=9", *more]) for more in ([], ["solve.reg=1e-3", "kip.learning_rate=0.1"]))
    assert why_not_resumed(old, new) == ""
    assert adjusted_keys(old, new) == ["solve.reg: 1e-06 → 0.001", "kip.learning_rate: 0.04 → 0.1"]
    solve = ["method=label_solve"]
    assert why_not_resumed(parse_config("", solve), parse_config("", [*solve, "solve.reg=1e-3"]))


def test_arrays_of_numbers_and_files_of_a_method(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('method = "krr"\n[support]\nimages_per_class = 0\n[krr]\nregs = [1, 1e-3]\nkernel_file = "k.h5"\n')
    config = load_config(path)
    assert config.krr.regs == (1.0, 1e-3)
    assert config.krr.kernel_file == str(tmp_path / "k.h5")
    assert parse_config(config.to_toml()).krr == config.krr


def test_what_is_wrong_is_named_by_where_it_stands(tmp_path):
    path = tmp_path / "c.toml"
    for in_file, settings, where in (
        ("10", ["kip.steps=many"], "--set"),
        ('"many"', [], "c.toml"),
        ('"many"', ["kip.batch=5"], "c.toml"),
    ):
        path.write_text(f"[kip]\nsteps = {in_file}\n")
        with pytest.raises(ConfigError, match=rf"{where}: kip\.steps must be a whole number, not 'many'"):
            load_config(path, settings)
    assert load_config(path, ["kip.steps=5"]).to_toml()
