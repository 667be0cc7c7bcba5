"""Files that are complete or absent, whoever else writes them."""

from pathlib import Path

import pytest

from hpcdistill.whole_file import name_to_be, replacing, temporary_name, whole_file


def test_whole_file_or_the_one_before(tmp_path):
    path = tmp_path / "out"
    with whole_file(path) as file:
        file.write(b"one")
    with pytest.raises(RuntimeError), whole_file(path) as file:  # noqa: PT012 - the write is part of it
        file.write(b"two")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with whole_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_what_is_no_file_is_written_to():
    with whole_file(Path("/dev/null")) as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()


def test_two_writers_do_not_touch_each_others_files(tmp_path):
    path = tmp_path / "out"
    with replacing(path) as one:
        one.write_bytes(b"one")
        with replacing(path) as other:
            other.write_bytes(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_temporary_name_says_what_it_is_to_be():
    path = Path("folder/step-000001.h5")
    assert name_to_be(temporary_name(path)) == "step-000001.h5"
    assert temporary_name(path) != temporary_name(path)
    for stranger in ("step-000001.h5", "step-000001.h5.tmp", "notes.tmp", "x.0123456789aB.tmp", ".0123456789ab.tmp"):
        assert name_to_be(Path(stranger)) is None
