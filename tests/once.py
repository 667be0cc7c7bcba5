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
            made.touch()
    return folder
