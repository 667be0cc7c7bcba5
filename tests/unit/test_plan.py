"""What a plan says: sizes, entries, memory, bytes, messages. No engine computes here."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpcdistill import commands
from hpcdistill.__main__ import main
from hpcdistill.bench.machine import cpu_model
from hpcdistill.config import load_config, parse_config
from hpcdistill.cost import rates
from hpcdistill.cost.exchange import StepSizes, exchanged_per_step
from hpcdistill.cost.kernel_file import kernel_file_work
from hpcdistill.cost.memory import BESIDES, parse_memory, rank_memory
from hpcdistill.cost.plan import Case, Kernel, Node, fewest_ranks, plan_row, why_too_large
from hpcdistill.cost.rates import Device, Speed, find_device, keep, kept_device, kernel_name, known_devices
from hpcdistill.cost.work import Images, Place, blockcyclic_share
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.registry import KNOWN
from hpcdistill.errors import CheckpointError, ConfigError
from hpcdistill.io.kernel_create import create
from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
from hpcdistill.method import Method, find_method
from hpcdistill.run.planning import images_of, kernel_of, work_of

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "jobs/demo/digits.toml")
FAST = Speed(1000.0, 250.0)
NAMES = [kernel_name("FC1", "ntk", (8, 8, 1), dtype) for dtype in ("float32", "float64")]
DEVICE = Device("a core", "core", dict.fromkeys(NAMES, FAST), {"float64": 1.0, "float32": 2.0}, "2026-11-27")


def configured(**settings):
    given = {"kernel.architecture": "FC1", **{key.replace("__", "."): value for key, value in settings.items()}}
    return parse_config("", [f"{key}={value}" for key, value in given.items()])


def case(device=DEVICE, cores=1, **settings):
    config = configured(**settings)
    images = images_of(config)
    return Case(work_of(config, images), images, kernel_of(config), device, cores)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "hpcdistill" / "rates.json"


def test_sizes_of_digits_are_those_of_its_files():
    data = load_dataset("digits")
    assert KNOWN["digits"].sizes == (len(data.train), len(data.test), *data.train.images.shape[1:])
    assert all(min(known.sizes) > 0 for known in KNOWN.values())


def test_images_in_use():
    images = images_of(configured(data__train_size=500, data__validation=100, data__test_size=50))
    assert images == Images(400, 100, 50, (8, 8, 1), 10, 1797)
    with pytest.raises(ConfigError, match=r"data.train_size=5000, but there are 1297"):
        images_of(configured(data__train_size=5000))


def test_a_run_of_kip():
    found = case(kip__steps=30, kip__batch=500, kip__evaluate_every=20, support__images_per_class=1)
    step, (evaluation,) = found.work.step, found.work.others
    assert step.entries == 500 * 10 + (8 * 8 + 2 * 8 + 2 * 2) + 100
    assert (evaluation.times, evaluation.entries) == (3, 500 * 10 + 84)  # steps 0, 20, 30
    row = plan_row(found, 2)
    tiles = (64 + 4) / 1000 + (64 + 16) / 250  # of 8×8, 2×8, 2×2, and of 8×8, 8×2, 2×8, 2×2, every other
    assert row.step_seconds == pytest.approx(250 * 10 / 250 + tiles)
    evaluated = 250 * 10 / 1000 + (64 + 4) / 1000
    assert row.total_seconds == pytest.approx(30 * row.step_seconds + 3 * evaluated)
    assert row.device_hours == pytest.approx(2 * row.total_seconds / 3600)
    sizes = StepSizes(10, 64, 10, learns_temperature=True)
    assert row.sent_bytes == sum(n for _, n in exchanged_per_step(sizes, 2).values())
    assert plan_row(found, 1).sent_bytes == 0


def test_more_cores_take_less_time_and_as_many_core_hours():
    one, four = (plan_row(case(cores=cores), 1) for cores in (1, 4))
    assert four.total_seconds == pytest.approx(one.total_seconds / 4)
    assert four.device_hours == pytest.approx(one.device_hours)


def test_a_batch_that_grows_costs_its_mean():
    grown = case(kip__steps=3, kip__batch=100, kip__last_batch=400, support__images_per_class=1).work.step
    assert grown.rows[0].count == pytest.approx((100 + 200 + 400) / 3)


def test_hours_decide_on_the_steps():
    found = case(kip__hours=0.5, kip__batch=500, support__images_per_class=1)
    row = plan_row(found, 1)
    assert (row.total_seconds, row.steps) == (1800, int(1800 / row.step_seconds))
    assert any("kip.hours" in note for note in found.work.notes)


def test_images_that_are_made_ready_take_time_of_each_rank():
    slower = {name: dataclasses.replace(speed, images=100.0) for name, speed in DEVICE.entries.items()}
    slow, given = Device("a core", "core", slower, {}, ""), {"kip__batch": 500, "support__images_per_class": 1}
    for ranks in (1, 2):
        added = plan_row(case(slow, **given), ranks).step_seconds - plan_row(case(**given), ranks).step_seconds
        assert added == pytest.approx(500 / 100 / ranks)


def test_networks_that_are_drawn_from_count_alike():
    slow = {kernel_name("FC2", "ntk", (8, 8, 1), dtype): Speed(500.0, 125.0) for dtype in ("float32", "float64")}
    both = Device("a core", "core", {**DEVICE.entries, **slow}, {}, "")
    plain = plan_row(case(both), 1).step_seconds
    drawn = plan_row(case(both, kip__architectures='["FC1", "FC2"]'), 1).step_seconds
    assert drawn == pytest.approx(1.5 * plain)


def test_label_solve_and_draws():
    solved = case(method="label_solve", label_solve__chunk=500, support__images_per_class=1).work
    assert (solved.step.times, solved.step.times * solved.step.entries) == (3, pytest.approx(12970))
    assert solved.others[0].entries == 500 * 10 + 2 * 84
    drawn = case(method="krr", krr__draws=4, support__images_per_class=1).work
    assert (drawn.step.times, drawn.step.entries) == (4, 500 * 10 + 84)


def all_images(**settings):
    return case(method="krr", support__images_per_class=0, **settings)


def test_all_images():
    work = all_images(krr__regs="[0.1, 1.0]").work
    n = 1297
    assert work.step.shared_flops == 3 * n**3 / 3
    images = 12 * n * 64
    assert work.rank_bytes(Place(1)) == 8 * n * n + images
    assert work.rank_bytes(Place(4)) == 2 * n * n + images
    assert all_images(krr__precision="float32").work.rank_bytes(Place(2)) == 2 * n * n + images
    assert all_images(solve__method="replicated").work.rank_bytes(Place(4)) == 8 * n * n + images
    from_file = all_images(krr__kernel_file="K.h5").work
    assert from_file.step.entries == from_file.step.parts == 0
    assert any("K.h5 is not there" in note for note in from_file.notes)
    assert any("not known before" in note for note in all_images(krr__solver="conjugate_gradients").work.notes)


@pytest.mark.parametrize(("n", "block", "ranks"), [(1297, 256, 1), (100, 8, 6), (40, 7, 4), (5, 8, 2)])
def test_the_largest_share_of_a_block_cyclic_triangle(n, block, ranks):
    def entries(rank):
        layout = BlockCyclic.of_rank(n, n, block, block, *near_square_grid(ranks), rank)
        return sum(len(tile.rows) * len(tile.cols) for tile in layout.tiles() if tile.meets_lower)

    assert blockcyclic_share(n, block, ranks) == max(map(entries, range(ranks)))


def test_a_kernel_file():
    work = kernel_file_work(Images(1000, 0, 0, (8, 8, 1), 10, 1000), 250)
    assert work.step.entries == 10 * 250**2
    assert work.files["the kernel"] == pytest.approx(8e6, rel=0.01)
    padded = kernel_file_work(Images(1001, 0, 0, (8, 8, 1), 10, 1001), 250).files["the kernel"]
    assert padded == pytest.approx(8 * 1250**2, rel=0.01)


def test_memory_in_words_of_slurm():
    assert [parse_memory(text) for text in ("64G", "2000M", "512", "1T")] == [2**36, 2000 * 2**20, 2**29, 2**40]
    with pytest.raises(ConfigError, match=r"resources.memory 'much' is no size"):
        parse_memory("much")
    assert rank_memory(1e9) == 1.1e9 + BESIDES


def test_what_does_not_fit_is_said_with_what_would():
    large = Images(60_000, 0, 10_000, (28, 28, 1), 10, 70_000)
    config = configured(method="krr", support__images_per_class=0)
    found = Case(work_of(config, large), large, kernel_of(config), DEVICE)
    node = Node(4, 16 * 2**30)
    fewest = fewest_ranks(found, node)
    assert fewest == 16
    assert why_too_large(found, fewest, node) == ""
    told = why_too_large(found, 1, node)
    assert told.startswith("1 rank: 1 on a node need ")
    assert f"Use {fewest} ranks or more on 4 such nodes, or krr.precision=float32" in told
    assert "No number of ranks is enough: use krr.precision" in why_too_large(found, 1, Node(4, 2**30))


def test_the_table_of_devices_is_what_was_measured():
    for name, device in known_devices().items():
        source = json.loads((ROOT / rates.tomllib.loads(rates.TABLE.read_text())[name]["source"]).read_text())
        threads = 1 if device.unit == rates.CORE else 16
        assert device.entries
        for kernel, speed in device.entries.items():
            network, shape, dtype = kernel.split()
            rows = {row["operation"]: row for row in source["rows"] if row["threads"] == threads and
                    row["backend"] != "tangents" and
                    (row["architecture"], row["shape"], row["dtype"]) == (network, shape, dtype)}  # fmt: skip
            assert speed.forward == pytest.approx(rows["forward"]["entries_per_second"], abs=0.06)
            assert speed.gradient == pytest.approx(rows["forward+vjp"]["entries_per_second"], abs=0.06)
            assert rows["forward"]["date"].startswith(device.date)


def test_a_device_says_what_it_lacks():
    with pytest.raises(ConfigError, match=r"--device 'abacus' is unknown. Valid: here .*h200"):
        find_device("abacus")
    with pytest.raises(ConfigError, match=r"FC1 8x8x1 float64 was not measured there. There are ConvNet 32x32x3"):
        plan_row(case(find_device("h200")), 1)


@pytest.mark.parametrize(("name", "backend", "other"), [("h200", "cuda", "native"), ("epyc-avx512", "native", "cuda")])
def test_a_run_that_names_the_backend_of_a_device_is_planned_there(name, backend, other):
    device = find_device(name)
    named = [rates.kernel_name("ConvNet", "ntk", (32, 32, 3), "float32", one) for one in ("auto", backend, other)]
    assert device.speed(named[0]) == device.speed(named[1])
    with pytest.raises(ConfigError, match=f"ConvNet 32x32x3 float32 {other} was not measured there"):
        device.speed(named[2])


def test_measured_speeds_are_kept(cache):
    assert kept_device("a processor") is None
    keep("a processor", DEVICE)
    keep("a processor", Device("a core", "core", {"ConvNet 8x8x1 float32": FAST}, {"float64": 3.0}, "2026-11-28"))
    kept = kept_device("a processor")
    assert kept.entries.keys() == {*NAMES, "ConvNet 8x8x1 float32"}
    assert (kept.gflops, kept.date) == ({"float64": 3.0}, "2026-11-28")
    cache.write_text("damaged")
    assert kept_device("a processor") is None
    cache.write_text('{"a processor": {"title": 1}}')
    assert kept_device("a processor") is None


def plan(*words):
    return main(["plan", DIGITS, "--set", "kernel.architecture=FC1", *words])


def test_the_command_measures_nothing_that_is_kept(cache, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the command sets
    keep(cpu_model(), DEVICE)
    assert plan("--ranks", "1,64", "--threads", "2") == 0
    shown = capsys.readouterr().out
    assert "1,297 training and 500 test images of 8×8×1, FC1" in shown
    assert "a core, measured 2026-11-27, 2 cores a rank" in shown
    assert "ranks s / step total core-hours GiB / rank MB sent / step, rank" in " ".join(shown.split())
    assert plan("--ranks", "64,1,1", "--json", "--threads", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["ranks"] for row in told["rows"]] == [1, 64]
    assert told["rows"][0]["step_seconds"] == pytest.approx(plan_row(jobs_case(), 1).step_seconds)


def test_more_ranks_than_there_is_work_for_are_told(cache, capsys):
    keep(cpu_model(), DEVICE)
    told = "more than 21 ranks have no kernel entries to compute in a kernel"  # 6 tiles of 256 along 1,297 images
    for ranks, is_told in (("1,21", False), ("22", True)):
        assert plan("--ranks", ranks, "--kernel-file") == 0
        assert (told in " ".join(capsys.readouterr().out.split())) == is_told


def jobs_case():
    config = load_config(DIGITS, ["kernel.architecture=FC1"])
    images = images_of(config)
    return Case(work_of(config, images), images, kernel_of(config), DEVICE)


@pytest.mark.parametrize(("load", "is_told"), [(1.4, False), (2.5, True)])
def test_a_busy_machine_is_told(monkeypatch, load, is_told):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert ("a load of 2.5 on 2 cores" in commands.plan._busy()) == is_told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["support.images_per_class=130"], "130: 1,300 images, but there are 1,297 training images."),
        (["support.images_per_class=100", "data.validation=300"], "1,000 images, but there are 997 training images."),
        (["support.images_per_class=10001", "support.init=noise"], "at most 100,000, 75 GiB of K_ss."),
    ],
)
def test_a_support_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        images_of(load_config(DIGITS, settings))


def test_a_batch_that_cannot_be():
    config = load_config(DIGITS, ["kip.batch=500", "data.train_size=400"])
    with pytest.raises(ConfigError, match="kip.batch=500, but there are at most 400 training images"):
        work_of(config, images_of(config))


def test_what_is_no_kernel_file_is_refused(tmp_path):
    config = load_config(DIGITS, ["method=krr", "support.images_per_class=0", f"krr.kernel_file={tmp_path / 'k.h5'}"])
    images = images_of(config)
    assert (
        f"{tmp_path / 'k.h5'} is not there: the time of `hpcdistill kernel` comes before"
        in work_of(config, images).notes
    )
    (tmp_path / "k.h5").write_text("text")
    with pytest.raises(CheckpointError, match=r"k\.h5: is no kernel of `hpcdistill kernel`"):
        work_of(config, images)


def test_missing_tiles_of_a_kernel_file_are_told(tmp_path):
    config = load_config(DIGITS, ["method=krr", "support.images_per_class=0", f"krr.kernel_file={tmp_path / 'k.h5'}"])
    create(tmp_path / "k.h5", (1297, 1297), np.dtype("f8"), 500, is_symmetric=True, arrays={},
           attributes={"config": config.to_toml(), "rows": "train"})  # fmt: skip
    (told,) = [note for note in work_of(config, images_of(config)).notes if "k.h5" in note]
    assert told == f"{tmp_path / 'k.h5'} lacks 6 of 6 tiles: `hpcdistill kernel` computes them before"


def test_a_profile_says_ranks_memory_and_time(cache, tmp_path, capsys):
    keep(cpu_model(), DEVICE)
    profile = tmp_path / "p.toml"
    profile.write_text('[resources]\nnodes = 2\ntasks_per_node = 3\nmemory = "100M"\ntime = "10"\n')
    assert plan("--profile", str(profile), "--set", "kip.steps=100000") == 0
    shown = capsys.readouterr().out
    assert "6 ranks: 3 on a node need" in shown
    assert "on 6 ranks, and resources.time is 10: the job will be requeued" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "h200", "--measure"], "--measure is for this machine"),
        (["--ranks", "1,none"], "must be a whole number of at least 1, not 'none'"),
        (["--ranks", "1,99999999999999999999"], "must be at most 100,000,000,000,000, not 99999999999999999999"),
        (["--ranks", "1,2000000"], "must be at most 1,000,000, not 2000000"),
        (["--threads", "2000"], "must be at most 1,024, not 2000"),
        (["--set", "krr.keep_gib=1e300"], "krr.keep_gib must be finite and at least 0 and at most"),
        (["--set", "support.images_per_class=0"], "support.images_per_class must be at least 1"),
    ],
)
def test_what_is_wrong_is_said(cache, capsys, words, told):
    try:
        code = plan(*words)
    except SystemExit as ended:  # from the parser
        code = ended.code
    assert code == 2
    assert told in capsys.readouterr().err


def test_a_method_of_others_need_not_say(monkeypatch):
    assert Method().work(configured(), None) is None
    monkeypatch.setattr(type(find_method("kip")), "work", Method.work)
    with pytest.raises(ConfigError, match="method 'kip' does not say what it computes"):
        case()


def test_submit_warns_of_a_short_limit(cache, tmp_path):
    profile = tmp_path / "p.toml"
    profile.write_text('[resources]\ntime = "10"\n')

    def note(*words):
        given = ["submit", DIGITS, "--profile", profile, "--dry-run", "--output", tmp_path / "o", *words]
        command = [sys.executable, "-m", "hpcdistill", *map(str, given), "--set", "kernel.architecture=FC1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stderr

    long = ("--set", "kip.steps=100000")
    assert "note" not in note(*long)  # nothing is known
    keep(cpu_model(), DEVICE)
    assert "at the speed of a core a run takes about" in note(*long)
    assert "note" not in note("--set", "kip.steps=1", "--set", "kip.batch=10")
    assert "kernel.backend=cuda wants a GPU, and the profile asks for none" in note("--set", "kernel.backend=cuda")
    for text in ("[resources]\ngpus_per_node = 1\n", 'executor = "local"\n'):
        profile.write_text(text)
        assert "wants a GPU" not in note("--set", "kernel.backend=cuda")


def test_kernels_have_names():
    assert Kernel("FC1", "nngp", "float64", "float32", "native").names("FC1", (8, 8, 1)) == (
        "FC1 8x8x1 float64 nngp native",
        "FC1 8x8x1 float32 nngp native",
    )
