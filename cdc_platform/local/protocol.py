"""The wire: HTTP requests of the AWS JSON 1.1 protocol and of the local control, to calls and back."""

from __future__ import annotations

import json
import logging
import re
import uuid
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import CdcError, LocalServiceError, redact
from cdc_platform.local.api_errors import ApiError, unreadable
from cdc_platform.local.api_model import CONTENT_TYPE, TARGET_PREFIX
from cdc_platform.local.context import DEFAULT_REGION

if TYPE_CHECKING:
    from cdc_platform.local.endpoint import DmsEndpoint

_LOG = logging.getLogger(__name__)
_LARGEST_BODY = 8 * 1024 * 1024
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/(?P<region>[a-z0-9-]+)/")
_HOSTS = ("127.0.0.1", "localhost")
_FAULTS, _HEALTH = "/_local/faults", "/_local/health"


class RequestHandler(BaseHTTPRequestHandler):
    """One request. The handler holds no state of its own."""

    protocol_version = "HTTP/1.1"
    server_version = "cdc-local-dms"
    sys_version = ""
    timeout = 60
    #: Buffered, so that head and body leave in one segment: two small ones cost 40 ms of delayed ACK.
    wbufsize = -1

    def __init__(self, endpoint: DmsEndpoint, *args: Any) -> None:
        self._endpoint = endpoint
        super().__init__(*args)

    def do_GET(self) -> None:
        """``/_local/health`` and ``/_local/faults``."""
        self._answer("application/json", self._get)

    def do_POST(self) -> None:
        """An API call at ``/``, or a fault to arm."""
        if self.path == _FAULTS:
            self._answer("application/json", self._arm)
        else:
            self._answer(CONTENT_TYPE, self._api)

    def do_DELETE(self) -> None:
        """``/_local/faults`` or ``/_local/faults/<id>``."""
        self._answer("application/json", self._clear)

    def _get(self) -> dict[str, Any]:
        if self.path == _HEALTH:
            return self._endpoint.health()
        if self.path == _FAULTS:
            return {"faults": self._endpoint.faults.armed()}
        raise LocalServiceError(f"there is nothing at {self.path}", mend=f"see {_HEALTH} and {_FAULTS}")

    def _arm(self) -> dict[str, Any]:
        body = self._body()
        if not isinstance(body, dict):
            raise LocalServiceError("the body is not a JSON object", where="fault switch")
        return self._endpoint.faults.arm(body)

    def _clear(self) -> dict[str, Any]:
        found = re.fullmatch(rf"{_FAULTS}(?:/(?P<number>\d+))?", self.path)
        if found is None:
            raise LocalServiceError(f"there is nothing at {self.path}", mend=f"DELETE {_FAULTS}/<id>")
        number = found["number"]
        return {"cleared": self._endpoint.faults.clear(int(number) if number else None)}

    def _api(self) -> dict[str, Any]:
        target = self.headers.get("X-Amz-Target", "")
        if not target.startswith(TARGET_PREFIX):
            raise ApiError("UnknownOperationException", "the request has no DMS X-Amz-Target header")
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        region = scope["region"] if scope else DEFAULT_REGION
        return self._endpoint.call(target.removeprefix(TARGET_PREFIX), self._body(), region)

    def _body(self) -> object:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise unreadable("the request body is too large or has no length")
        raw = self.rfile.read(int(length))
        if "json" not in self.headers.get("Content-Type", ""):
            raise unreadable("the content type is not JSON")
        try:
            return json.loads(raw or b"{}")
        except ValueError as fault:
            raise unreadable("the request body is not JSON") from fault

    def _answer(self, content_type: str, work: Any) -> None:
        try:
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in _HOSTS:
                raise ApiError("AccessDeniedException", "the Host header is not this machine's")
            status, body = 200, work()
        except ApiError as fault:
            status, body = 400, {"__type": fault.code, "message": fault.message}
        except CdcError as fault:
            status, body = 400, {"__type": type(fault).__name__, "message": str(fault)}
        except Exception as fault:
            # the endpoint must answer and live on; the log has the trace, the caller the gist
            _LOG.exception("%s %s failed", self.command, self.headers.get("X-Amz-Target", self.path))
            status, body = (
                500,
                {"__type": "InternalFailure", "message": redact(f"{type(fault).__name__}: {fault}")},
            )
        self._write(status, content_type, body)

    def _write(self, status: int, content_type: str, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests at debug level; a body never shows."""
        _LOG.debug("%s " + format, self.headers.get("X-Amz-Target", "") if self.headers else "", *args)
