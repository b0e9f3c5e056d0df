"""A TCP proxy before a database, which meddles: it replaces bytes either way, or cuts the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import psycopg

_LISTENED_SECONDS = 30.0


class Proxy:
    """Stands on a port of its own before the server of ``dsn``; ``self.dsn`` leads through it.

    ``asked`` and ``answered`` are replaced in what client and server send; a replacement within one message
    must be of its length. After ``cut_after`` bytes of the server the connection is reset, after
    ``mute_after`` nothing of the server arrives any more.
    """

    def __init__(
        self,
        dsn: str,
        *,
        asked: Mapping[bytes, bytes] | None = None,
        answered: Mapping[bytes, bytes] | None = None,
        cut_after: int | None = None,
        mute_after: int | None = None,
    ) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        self._server = (str(parts["host"]), int(parts["port"] or 5432))
        self._asked, self._answered, self._cut_after = asked or {}, answered or {}, cut_after
        self._mute_after = mute_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = psycopg.conninfo.make_conninfo(
            dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        #: How many bytes the server sent in the longest connection.
        self.longest = 0

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server, timeout=_LISTENED_SECONDS)
            for one, other, replaced, bound in (
                (client, server, self._asked, None),
                (server, client, self._answered, self._cut_after),
            ):
                threading.Thread(target=self._pass, args=(one, other, replaced, bound), daemon=True).start()

    def _pass(
        self, one: socket.socket, other: socket.socket, replaced: Mapping[bytes, bytes], bound: int | None
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := one.recv(65_536):
                for old, new in replaced.items():
                    data = data.replace(old, new)
                if bound is not None and passed + len(data) > bound:
                    other.sendall(data[: bound - passed])
                    break
                passed += len(data)
                if replaced is self._answered and self._mute_after is not None and passed > self._mute_after:
                    continue
                other.sendall(data)
                if replaced is self._answered:
                    self.longest = max(self.longest, passed)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
