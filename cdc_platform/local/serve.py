"""``python -m cdc_platform.local.serve <folder> <port>``: the DMS endpoint as a process of its own.

Writes its process file once it answers, removes it when it ends; SIGTERM and SIGINT end it in good order:
running tasks flush, record their checkpoints, and resume with the next start.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from cdc_platform.errors import CdcError
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform.local.processes import this_process, write_process_file
from cdc_platform.local.service_folder import ServiceFolder


def serve(folder: Path, port: int, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve the endpoint of ``folder`` until SIGTERM or SIGINT. Raises LocalServiceError when it cannot."""
    from cdc_platform.local.engine import PostgresTaskEngine

    places = ServiceFolder(folder)
    ended = threading.Event()
    before = {each: signal.signal(each, lambda *_: ended.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with DmsEndpoint(places.dms, PostgresTaskEngine(), places.raw, port=port) as endpoint:
            write_process_file(places.process_file, this_process(endpoint.url))
            try:
                if on_ready is not None:
                    on_ready(endpoint.url)
                ended.wait()
            finally:
                places.process_file.unlink(missing_ok=True)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def main() -> int:
    """Run from the command line; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(Path(sys.argv[1]), int(sys.argv[2]))
    except CdcError as fault:
        logging.getLogger(__name__).error("%s", fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
