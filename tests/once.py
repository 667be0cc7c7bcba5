"""What many tests only read, made once a session, however many processes of pytest-xdist share it."""

import fcntl
import os


def once(tmp_path_factory, name, make):
    """Return a folder of this session that `make(folder)` has filled; a process that comes meanwhile waits for it."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder, made = session / name, session / f"{name}.made"
    with (session / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            made.write_text(_listing(folder))
    return folder


def check_unchanged(folder):
    """Fail if a test has changed a folder from `once`: what others then find in it depends on their order."""
    made = folder.with_name(f"{folder.name}.made").read_text()
    assert _listing(folder) == made, f"a test has changed {folder}, which others read: it must use a copy"


def _listing(folder):
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return "".join(f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}\n" for path in files)
