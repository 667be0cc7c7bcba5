"""Commands without a launcher, started by fork from a process that has imported the package: its imports take longer
than most commands that are tested. Each runs in a process of its own all the same; MPI starts there.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import end_with


def usable():
    """Whether commands may be forked: not where each is to measure which of its lines are reached."""
    return "COVERAGE_PROCESS_START" not in os.environ


def run(arguments, environment, timeout):
    """Run a command; return exit code (or minus a signal), what it printed, and None, or what says that it hung."""
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/stdout", f"{folder}/stderr"]
        request = {"arguments": arguments, "environment": environment, "cwd": os.getcwd(), "paths": paths}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        pid, hung = int(server.stdout.readline()), None
        if not select.select([server.stdout], [], [], timeout)[0]:
            hung = f"{arguments}: still running after {timeout} s"
            os.kill(pid, signal.SIGABRT)  # faulthandler says where it is
        code = int(server.stdout.readline())
        printed = [Path(path).read_text(errors="replace") for path in paths]
        return code, *printed, hung


@cache
def _server():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HPCDISTILL_")}
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env=environment | {"OMP_NUM_THREADS": "1"})  # fmt: skip


def _serve():
    import mpi4py

    mpi4py.rc.initialize = mpi4py.rc.finalize = False
    from hpcdistill.__main__ import build_parser
    from hpcdistill.io import checkpoint_write, export
    from hpcdistill.run import evaluate, execute

    assert all((checkpoint_write, export, evaluate, execute))
    build_parser()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end it, by closing its input
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    for line in requests:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            requests.close()
            replies.close()
            end_with(partial(_command, request), otherwise=1)
        print(child, file=replies, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=replies, flush=True)


def _command(request):
    """In the child: run a command; return its exit code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate(request["paths"], 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    import faulthandler

    faulthandler.enable()
    from mpi4py import MPI

    from hpcdistill.__main__ import main
    from hpcdistill.mpi.binding import starting

    with starting():
        MPI.Init_thread()
    try:
        code = main(request["arguments"])
    except SystemExit as ended:
        return ended.code or 0
    MPI.Finalize()
    return code


if __name__ == "__main__":
    _serve()
