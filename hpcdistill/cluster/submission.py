"""From a configuration and a profile to jobs."""

from __future__ import annotations

from datetime import datetime

from hpcdistill.cluster.registry import Job, Submission
from hpcdistill.cluster.request import Request
from hpcdistill.cluster.scheduler import find_scheduler
from hpcdistill.errors import StorageError


def submit(request: Request) -> Submission:
    """Submit all runs.

    Raises:
        EnvironmentSetupError: the scheduler is not here, or refuses.
        StorageError: the folders cannot be written to.
    """
    scheduler = find_scheduler(request.profile.executor)
    where = scheduler.where()
    try:
        for run in request.runs:
            run.output.mkdir(parents=True, exist_ok=True)
            run.config_path.write_text(run.config.to_toml())
        request.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: cannot be written ({error.strerror}). Give another folder with --output."
        ) from error
    ids = scheduler.submit(request)
    jobs = tuple(Job(i, str(run.output.absolute()), run.values) for i, run in zip(ids, request.runs, strict=True))
    submitted = datetime.now().astimezone().isoformat(timespec="milliseconds")
    return Submission(request.profile.executor, where, str(request.folder.absolute()), submitted, jobs)
