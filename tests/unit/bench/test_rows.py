"""Medians, ratios, turns, and the file they go to."""

import json

import pytest

from hpcdistill.bench.cases import Case
from hpcdistill.bench.report import check_writable, figure, write_json
from hpcdistill.bench.rows import HEADINGS, Measured, kernel_rows, kernel_table
from hpcdistill.bench.step_rows import HEADINGS as STEP_HEADINGS
from hpcdistill.bench.step_rows import StepSample, step_rows, step_table
from hpcdistill.bench.timing import seconds_of, take_turns
from hpcdistill.errors import EnvironmentSetupError, StorageError

CASE = Case("ConvNet", (32, 32, 3))
KEYS = {"backend", "architecture", "shape", "dtype", "operation", "threads", "entries_per_second", "seconds_per_entry",
        "ratio_to_neural_tangents", "device", "date"}  # fmt: skip


def rows(threads, scale=1.0, peer=True):
    ours = [Measured("native", "float32", (10, 20), [9.0, 2.0 * scale, 1.0], "d"),
            Measured("native", "float64", (10, 20), [4.0 * scale] * 3, "d")]  # fmt: skip
    beside = [Measured("tangents", "float64", (2, 2), [0.1, 8.0, 4.0], "d")] if peer else []
    return kernel_rows(CASE, "forward", threads, ours, beside, "2030-01-02")


def test_rows_hold_medians_per_entry_and_their_ratio_to_the_peer():
    single, double, peer = rows(2)
    assert all(set(row) == KEYS for row in (single, double, peer))
    assert (single["seconds_per_entry"], single["entries_per_second"]) == (0.01, 100.0)
    assert (double["dtype"], double["threads"], double["shape"]) == ("float64", 2, "32x32x3")
    assert (single["ratio_to_neural_tangents"], double["ratio_to_neural_tangents"]) == (100.0, 50.0)
    assert (peer["backend"], peer["seconds_per_entry"], peer["ratio_to_neural_tangents"]) == ("tangents", 1.0, 1.0)


def test_the_ratio_is_to_the_fastest_peer():
    peers = [
        Measured("tangents", dtype, (2, 2), [seconds], "d") for dtype, seconds in (("float64", 8.0), ("float32", 4.0))
    ]
    found = kernel_rows(CASE, "forward", 1, [Measured("cuda", "float32", (1, 2), [1.0], "d")], peers, "2030-01-02")
    assert [(r["backend"], r["dtype"], r["ratio_to_neural_tangents"]) for r in found] == [
        ("cuda", "float32", 2.0), ("tangents", "float64", 0.5), ("tangents", "float32", 1.0)
    ]  # fmt: skip


def test_without_a_peer_there_is_no_ratio():
    found = rows(2, peer=False)
    assert [row["ratio_to_neural_tangents"] for row in found] == [None, None]


def test_the_table_compares_with_one_thread_and_with_float32():
    cells = list(kernel_table(rows(2) + rows(1, scale=1.5)))
    shown = {(c[3], c[4], c[5]): dict(zip(HEADINGS, c, strict=True)) for c in cells}
    assert shown["float32", "2", "native"]["× 1 thread"] == "1.5"
    assert shown["float64", "2", "native"]["× float32"] == "0.5"
    assert shown["float64", "1", "native"]["× 1 thread"] == "1"
    assert shown["float64", "2", "tangents"]["× float32"] == "–"
    assert shown["float32", "2", "native"]["ms/entry"] == "10"
    assert [c[HEADINGS.index("× 1 thread")] for c in kernel_table(rows(2))] == ["–"] * 3


def test_figures_are_short():
    assert [figure(x) for x in (None, 0.0012345, 12.345, 123456.7)] == ["–", "0.00123", "12.3", "123457"]


def test_measurements_take_turns():
    order = []
    samples = take_turns([lambda name=name: order.append(name) or len(order) for name in "abc"], 2)
    assert "".join(order) == "abcabc"
    assert samples == [[1, 4], [2, 5], [3, 6]]


def test_the_stop_watch_covers_the_call(monkeypatch):
    now = [5.0]
    monkeypatch.setattr("hpcdistill.bench.timing.time.perf_counter", lambda: now[0])
    assert seconds_of(lambda: now.__setitem__(0, 7.5)) == 2.5


def test_a_step_takes_as_long_as_its_slowest_rank():
    traffic = {
        "Allreduce": {"calls": 3, "bytes": 2500},
        "Bcast": {"calls": 1, "bytes": 12},
        "bcast": {"calls": 2, "bytes": 8},
    }
    samples = {
        1: [[StepSample(s, s / 2, {})] for s in (4.0, 9.0, 1.0)],
        2: [[StepSample(2.0, 1.0, traffic), StepSample(2.5, 1.5, {})] for _ in range(3)],
    }
    facts = {"images": 10, "targets": 100, "threads": 1}
    one, two = step_rows(samples, facts)
    assert (one["ranks"], one["seconds_per_step"], one["speed_up"], one["kernel_share"]) == (1, 4.0, 1.0, 0.5)
    assert (two["ranks"], two["seconds_per_step"], two["speed_up"], two["kernel_share"]) == (2, 2.5, 1.6, 0.6)
    assert two["collectives"] == traffic
    cells = dict(zip(STEP_HEADINGS, list(step_table([one, two]))[1], strict=True))
    assert (cells["Allreduce"], cells["Bcast"], cells["small"]) == ("3×, 2.5 kB", "1×, 12 B", "2×, 8 B")
    assert cells["all"] == "6×, 2.52 kB"
    assert (cells["kernel"], cells["speed-up"]) == ("60.0%", "1.6")


def test_the_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "bench.json"
    check_writable(path)
    assert list(tmp_path.iterdir()) == []
    write_json(path, {"rows": [1]})
    assert json.loads(path.read_text()) == {"rows": [1]}
    with pytest.raises(TypeError):
        write_json(path, {"rows": [object()]})
    with pytest.raises(StorageError, match="nowhere"):
        write_json(tmp_path / "nowhere/x.json", {})
    assert json.loads(path.read_text()) == {"rows": [1]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    check_writable(None)
    for path in (tmp_path, tmp_path / "nowhere/x.json"):
        with pytest.raises(EnvironmentSetupError, match=r"--json"):
            check_writable(path)
