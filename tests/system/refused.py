"""That a command refuses what it is given, and leaves everything as it was."""

from launch import run


def files(folder):
    """The content of all files below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def check_refused(arguments, words, ranks, folder, **options):
    """Run a command and check that it is refused in one line, naming `words`, and leaves all files as they were."""
    before = files(folder)
    result = run(*arguments, ranks=ranks, **options)
    assert result.code == 2, (result.code, result.stderr)
    assert len(result.error_lines) == 1, result.stderr
    (line,) = result.error_lines
    assert line.startswith("hpcdistill: error: ")
    assert [word for word in words if word not in line] == [], line
    assert "Traceback" not in result.stderr
    assert ranks or result.stderr.splitlines() == [line]
    assert files(folder) == before
    return result
