"""Runs as processes of this machine, with an answer to the question whether a run's process still lives.

Dagster's own launcher has no such answer, so a run whose process died together with its code server (Ctrl-C,
a crash, a reboot) would count as running, and keep its pool slots, until it is too old. ``dagster.yaml``
names this one; the daemon asks it for every running run (``run_monitoring``).
"""

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

#: How long the code server may take to answer; a busy one is not a dead one.
ANSWER_SECONDS = 10


class WatchfulRunLauncher(dg.DefaultRunLauncher):
    """Starts a run in a process of this machine, as Dagster's default does, and knows when it is gone."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether :meth:`check_run_worker_health` can be asked."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING while the run's process lives or nobody can tell, FAILED when it is gone."""
        import grpc  # type: ignore[import-untyped]
        from dagster._core.errors import DagsterUserCodeUnreachableError
        from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
        from dagster._serdes import deserialize_value

        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no code server is known to have started it")
        request = CanCancelExecutionRequest(run_id=run.run_id)
        try:
            text = client.can_cancel_execution(request, timeout=ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError as error:
            code = error.__cause__.code() if isinstance(error.__cause__, grpc.RpcError) else None
            if code is not grpc.StatusCode.UNAVAILABLE:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server did not answer in time")
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process ended with the code server")
        if deserialize_value(text, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process lives")
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process has ended")
