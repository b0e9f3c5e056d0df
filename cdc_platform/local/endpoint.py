"""The local DMS endpoint: an HTTP server on this machine that boto3's ``dms`` client drives without change.

Protocol ``AmazonDMSv20160101`` (JSON 1.1) at ``/``; the fault switch and health under ``/_local/``. The
standard library's threading server is enough (short requests, few clients) and keeps the endpoint usable
where nothing but boto3 is installed. Requests are not authenticated: it listens on 127.0.0.1 only, and turns
away requests a browser could be tricked into sending (foreign Host, no JSON content type).
"""

from __future__ import annotations

import contextlib
import json
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.api_errors import ApiError
from cdc_platform.local.api_model import check_operation, parse_input, serialise_output
from cdc_platform.local.context import DEFAULT_REGION, Call, Context, record_event
from cdc_platform.local.contract import TaskEngine, TaskReport, TaskSpec, TaskStatus
from cdc_platform.local.faults import FaultSwitchboard
from cdc_platform.local.operations import OPERATIONS
from cdc_platform.local.operations.endpoints import for_engine
from cdc_platform.local.protocol import RequestHandler
from cdc_platform.local.runs import TASK, TaskRuns, task_folder
from cdc_platform.local.store import ApiStore, Document

HOST = "127.0.0.1"
STORE_FILE = "dms.sqlite"
_SUSPEND_SECONDS = 30.0


class DmsEndpoint:
    """A DMS endpoint whose objects live in ``folder`` and whose targets are folders below ``raw_root``.

    ``start`` binds the port (0: any free one) and resumes the tasks that were running; ``stop`` suspends
    them. Use it as a context manager in tests::

        with DmsEndpoint(folder, PostgresTaskEngine(), raw_root) as dms:
            client = boto3.client("dms", endpoint_url=dms.url, …)
    """

    def __init__(self, folder: Path, engine: TaskEngine, raw_root: Path, *, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._port = port
        self._raw_root = raw_root.resolve()
        self._store = ApiStore(folder / STORE_FILE)
        self.faults = FaultSwitchboard(self._store)
        runs = TaskRuns(self._store, engine, self.faults, self._spec_of, self._record_end)
        self._context = Context(self._store, engine, runs, self._raw_root)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The endpoint URL, once started."""
        return f"http://{HOST}:{self._bound().server_address[1]}"

    def _bound(self) -> ThreadingHTTPServer:
        if self._server is None:
            raise LocalServiceError("the endpoint is not started", mend="call start() first")
        return self._server

    def start(self) -> DmsEndpoint:
        """Listen and resume. Raises LocalServiceError when the port is taken."""
        try:
            server = _Server((HOST, self._port), partial(RequestHandler, self))
        except OSError as fault:
            self._store.close()
            raise LocalServiceError(
                f"port {self._port} cannot be used: {fault.strerror}",
                where="local DMS",
                mend="choose another port, or 0 for any free one",
            ) from fault
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="dms", daemon=True)
        self._context.runs.resume_all()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, let running tasks flush and record their checkpoints, close the state."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
        self._context.runs.suspend_all(_SUSPEND_SECONDS)
        for test in list(self._context.tests.values()):
            test.join(_SUSPEND_SECONDS)
        self._store.close()

    def __enter__(self) -> DmsEndpoint:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, operation: str, body: object, region: str = DEFAULT_REGION) -> dict[str, Any]:
        """Carry out one API operation on JSON values. Raises ApiError."""
        check_operation(operation)
        known = OPERATIONS.get(operation)
        if known is None:
            raise ApiError(
                "UnsupportedOperationException",
                f"The local DMS does not support {operation}; docs/local-dms.md lists what it supports",
            )
        request = parse_input(operation, body)
        with self._context.lock if known.is_exclusive else contextlib.nullcontext():
            result = known.handler(self._context, Call(operation, request, region))
        return serialise_output(operation, result)

    def health(self) -> Document:
        """Return what ``/_local/health`` tells."""
        counts: dict[str, int] = {}
        for task in self._store.all(TASK):
            report = self._context.runs.report(task)
            status = report.status.value if report is not None else "ready"
            counts[status] = counts.get(status, 0) + 1
        return {
            "status": "ok",
            "service": "cdc-platform local DMS",
            "raw_root": str(self._raw_root),
            "tasks": counts,
        }

    def _spec_of(self, task: Document) -> TaskSpec:
        ends = [self._store.get("endpoint", task[end]) for end in ("SourceEndpointArn", "TargetEndpointArn")]
        source, target = (for_engine(end) if end is not None else {} for end in ends)
        return TaskSpec(
            identifier=task["ReplicationTaskIdentifier"],
            migration_type=task["MigrationType"],
            source=source,
            target=target.get("S3Settings", {}),
            table_mappings=json.loads(task["TableMappings"]),
            settings=json.loads(task["ReplicationTaskSettings"]),
            folder=task_folder(self._folder, task["ReplicationTaskArn"]),
            raw_root=self._raw_root,
        )

    def _record_end(self, task: Document, report: TaskReport) -> None:
        failed = report.status == TaskStatus.FAILED
        why = report.stop_reason or "no reason given"
        message = f"Replication task {'failed' if failed else 'stopped'}: {why}"
        name = task["ReplicationTaskIdentifier"]
        record_event(
            self._context, "replication-task", name, "failure" if failed else "state change", message
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
