"""`hpcdistill bench`: how fast kernels and KIP steps are here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hpcdistill.bench.cases import DEFAULT_CASES, DTYPES, OPERATIONS
from hpcdistill.commands.arguments import named_path, positive, positive_number
from hpcdistill.config import PRECISIONS

if TYPE_CHECKING:
    from hpcdistill.mpi.binding import MPI

HELP = "measure kernels against neural-tangents, and KIP steps on several numbers of ranks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Measure how fast this machine computes. What is compared takes turns; medians count."
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    kernels = commands.add_parser("kernels", help="kernel blocks against neural-tangents, on the same cores")
    _add_kernel_arguments(kernels)
    kernels.set_defaults(measure=_kernels)
    step = commands.add_parser("step", help="whole KIP steps on 1, 2, 4, … and all ranks")
    _add_step_arguments(step)
    step.set_defaults(measure=_step)


def _add_kernel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Time kernel blocks of a backend and of neural-tangents, round by round in turn, in a process of its own for "
        "each number of threads. forward+vjp is what a KIP step does: the block, then its gradient. --backend cuda is "
        "timed by the GPU's clock, and neural-tangents runs on the same GPU if JAX can use it (pip install "
        "'jax[cuda13]'). Run it without mpirun on an idle machine."
    )
    parser.add_argument("--backend", default="native", help="kernel backend to measure (default: native)")
    parser.add_argument("--architecture", metavar="NAME@HxWxC", nargs="+", default=list(DEFAULT_CASES),
                        help=f"networks and images (default: {' '.join(DEFAULT_CASES)})")  # fmt: skip
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES), help="default: both")
    parser.add_argument("--operation", nargs="+", choices=OPERATIONS, default=list(OPERATIONS), help="default: both")
    parser.add_argument("--threads", metavar="N", nargs="+", type=positive, default=[],
                        help="numbers of threads (default: one per core, and 1; on a GPU the first alone)")  # fmt: skip
    parser.add_argument("--rounds", metavar="N", type=positive, default=3, help="default: 3")
    parser.add_argument("--seconds", metavar="S", type=positive_number, default=1.0,
                        help="length of a round, about (default: 1)")  # fmt: skip
    parser.add_argument("--pairs", metavar="ROWSxCOLUMNS",
                        help="block of the backend (default: 10 rows, and the columns that fill a round)")  # fmt: skip
    parser.add_argument("--no-peer", action="store_true", help="leave out neural-tangents")
    _add_json_argument(parser)


def _add_step_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Time whole KIP steps (images and labels learned, random images) on the first 1, 2, 4, … ranks and on all, in "
        "turn, with as many threads per rank as OMP_NUM_THREADS says: mpirun -n 4 hpcdistill bench step"
    )
    parser.add_argument("--images", metavar="N", nargs="+", type=positive, default=[10, 100],
                        help="sizes of the support (default: 10 100)")  # fmt: skip
    parser.add_argument("--targets", metavar="N", type=positive, default=1000,
                        help="target images per step (default: 1000)")  # fmt: skip
    parser.add_argument("--architecture", metavar="NAME", default="ConvNet", help="default: ConvNet")
    parser.add_argument("--shape", metavar="HxWxC", default="32x32x3", help="default: 32x32x3")
    parser.add_argument("--backend", default="auto", help="kernel backend (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="mixed", help="default: mixed")
    parser.add_argument("--rounds", metavar="N", type=positive, default=3, help="default: 3")
    _add_json_argument(parser)


def _add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write all figures there, too")


def main(args: argparse.Namespace) -> int:
    """Measure. `bench step` is collective under MPI."""
    return args.measure(args)


def _kernels(args: argparse.Namespace) -> int:
    from hpcdistill.bench.cases import KernelRequest, check_threads, parse_case, parse_pairs
    from hpcdistill.bench.kernels import bench_kernels
    from hpcdistill.errors import EXIT_INPUT, ConfigError
    from hpcdistill.launcher import is_first_rank, ranks_on_node

    if ranks_on_node() > 1:
        if not is_first_rank():
            return EXIT_INPUT
        raise ConfigError("bench kernels measures one process: start it without mpirun, or with one rank.")
    request = KernelRequest(
        backend=args.backend,
        cases=tuple(dict.fromkeys(parse_case(text) for text in args.architecture)),
        dtypes=tuple(dict.fromkeys(args.dtype)),
        operations=tuple(dict.fromkeys(args.operation)),
        rounds=args.rounds,
        seconds=args.seconds,
        pairs=parse_pairs(args.pairs) if args.pairs else None,
        with_peer=not args.no_peer,
    )
    bench_kernels(request, check_threads(args.threads, args.backend), args.json)
    return 0


def _step(args: argparse.Namespace) -> int:
    from hpcdistill.mpi.runtime import run_collectively

    def body(comm: MPI.Intracomm) -> int:
        from hpcdistill.bench.cases import parse_shape
        from hpcdistill.bench.step import bench_step
        from hpcdistill.config import parse_config
        from hpcdistill.mpi.collectives import agree

        # The ridge has no part in how long a step takes; this one suits any random images in any precision.
        settings = [f"kernel.architecture={args.architecture}", f"kernel.backend={args.backend}",
                    f"kernel.precision={args.precision}", f"kip.batch={args.targets}", "solve.reg=1e-3"]  # fmt: skip
        with agree(comm):
            shape = parse_shape(args.shape)
            config = parse_config("", settings, "bench step")
        bench_step(comm, config, shape, tuple(dict.fromkeys(args.images)), args.rounds, args.json)
        return 0

    return run_collectively(body)
