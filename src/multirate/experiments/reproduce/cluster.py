"""Tasks on a Slurm cluster, through submitit (extra ``slurm``)."""

import shutil
from pathlib import Path
from typing import Any

from multirate.errors import UsageError


def cluster_executor(
    folder: str | Path,
    *,
    partition: str | None = None,
    hours: float = 24.0,
    jobs: int | None = None,
    options: dict[str, Any] | None = None,
    cluster: str = "slurm",
) -> Any:
    """Make what hands tasks to a cluster, through submitit.

    Args:
        folder: for scripts and logs of the jobs, which all machines see.
        partition: of the cluster; None: its default.
        hours: of a job; one that is out of time is put in the queue again.
        jobs: at most so many at a time.
        options: further parameters of ``submitit.AutoExecutor``, such as ``gpus_per_node=1``, ``slurm_account=...``.
        cluster: ``slurm``, or ``local`` for processes on this machine.

    Returns:
        The executor.

    Raises:
        UsageError: if submitit is not installed, there is no Slurm, or an option is unknown.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--slurm needs submitit; install it with: pip install 'multirate[slurm]'") from error
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UsageError("--slurm finds no sbatch here; run it on a login node of the cluster, or leave it out")
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    parameters: dict[str, Any] = {"name": "multirate", "timeout_min": max(1, round(60 * hours))}
    if cluster == "slurm":
        parameters |= {} if partition is None else {"slurm_partition": partition}
        parameters |= {} if jobs is None else {"slurm_array_parallelism": jobs}
    try:
        executor.update_parameters(**parameters | (options or {}))
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"--slurm-options: {' '.join(str(error).split())}") from error
    return executor
