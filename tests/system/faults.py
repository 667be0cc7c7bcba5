"""One rank alone fails, in each function that it calls: whatever it is, all ranks end, with one message.

    python tests/system/faults.py COMMAND … [--every N] [--error NAME]

runs a command of hpcdistill on two ranks again and again; each time the second rank raises an error as it enters
another function of the package for the first time. {output} in the command stands for a new folder each time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import hpcdistill
from hpcdistill import errors

PACKAGE = str(Path(hpcdistill.__file__).parent)
#: Start and end of a program, and what has no rank yet.
OUTSIDE = ("errors.py", "__main__.py", "launcher.py", "mpi/runtime.py", "attempt.py", "mpi/__init__.py")
#: The name of the function to fail in, and of the error; "" as name: list all that are called, in order.
PLACE, ERROR, LIST = "HPCDISTILL_FAULT", "HPCDISTILL_FAULT_ERROR", "HPCDISTILL_FAULT_LIST"


def _name(code):
    path = code.co_filename.removeprefix(PACKAGE + "/")
    return None if path == code.co_filename or path in OUTSIDE else f"{path}:{code.co_qualname}"


def _watch():
    """Return a profile function that notes what is called, and raises the error where it is due."""
    place, seen, began = os.environ[PLACE], {}, []

    def profile(frame, event, argument):
        if event != "call":
            return
        if not began:
            began.extend(["begun"] * (frame.f_code.co_name == "run_collectively"))
            return
        if (name := _name(frame.f_code)) is None or name in seen:
            return
        seen[name] = True
        if not place:
            with open(os.environ[LIST], "a") as file:
                file.write(name + "\n")
        elif name == place:
            kind = os.environ[ERROR]
            raise getattr(errors, kind, LookupError)("a fault of one rank")

    return profile


def main_of_rank():
    """Run the command line; the second rank watches itself."""
    from hpcdistill.__main__ import main

    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        from hpcdistill.mpi import collectives

        collectives.AGREEMENT_SECONDS = 2.0  # the others wait in vain: it need not be long
        sys.setprofile(_watch())
    return main()


def run_with(arguments, place, error="LookupError", listing=""):
    """Run a command whose second rank fails at a place; return what came of it."""
    from launch import run

    os.environ.update({PLACE: place, ERROR: error, LIST: str(listing)})
    program = (sys.executable, __file__, "--as-rank")
    return run(*arguments, ranks=2, program=program)


def places_of(arguments, folder):
    """Return the functions that the second rank calls, in order."""
    listing = folder / "places"
    result = run_with(arguments, "", listing=listing)
    assert result.code == 0, result.stderr
    return listing.read_text().splitlines()


def wrong(result):
    """Return what is wrong with how a command has ended, None if nothing is."""
    if result.code == 0:
        return None if not result.error_lines else f"exit code 0 with {result.error_lines}"
    if len(result.error_lines) != 1 or "a fault of one rank" not in result.stderr:
        return f"exit code {result.code} with {result.error_lines} {result.stderr[-1500:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th function")
    parser.add_argument("--error", default="LookupError", help="a name of hpcdistill.errors, or LookupError")
    args, arguments = parser.parse_known_args()
    found, folder = 0, Path(tempfile.mkdtemp())
    places = places_of([text.format(output=folder / "all") for text in arguments], folder)
    for number, place in list(enumerate(places))[:: args.every]:
        try:
            result = run_with([text.format(output=folder / str(number)) for text in arguments], place, args.error)
        except AssertionError as hung:
            print(f"{place}: {hung}", flush=True)
            found += 1
            continue
        if problem := wrong(result):
            found += 1
            print(f"{place}: {problem}", flush=True)
        elif result.code == 0:
            print(f"({place}: the command went on)", flush=True)
    print(f"{len(places)} functions, every {args.every}: {found} wrong ends")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-rank"]:
        del sys.argv[1]
        sys.exit(main_of_rank())
    sys.exit(main())
