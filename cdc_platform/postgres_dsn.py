"""What a PostgreSQL connection is told by, taken apart before it is used: no error may quote a secret.

libpq takes a password with an ``@``, a ``/`` or a space in it for other parts of the connection, and quotes
those when it cannot connect. So a DSN that may have been taken apart wrongly is refused without a word of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cdc_platform.errors import redact

DSN_MEND = (
    "write postgresql://user:password@host:port/database and percent-encode what is special in the password "
    "(@ is %40, / is %2F, a space %20), or keyword=value pairs, with quotes around a value that has spaces"
)

_URL = re.compile(r"\s*postgres(?:ql)?://(.*)", re.DOTALL)
_HOST = re.compile(r"[\w.:%-]*|[/@].*")
_PORT = re.compile(r"\d*")
_SECRET_NAMES = re.compile(r"password|secret|scram")
#: A shorter secret is hidden where it is a word only.
_LEAST_HIDDEN = 4


class UnreadableDsn(ValueError):
    """A DSN that cannot be taken apart for certain. The text says why and quotes nothing of it."""


class NotConnected(Exception):
    """A connection that could not be made. ``said`` is what the driver said, without any secret."""

    def __init__(self, said: str, sqlstate: str | None) -> None:
        super().__init__(said)
        self.said, self.sqlstate = said, sqlstate


def parts_of(dsn: str) -> dict[str, str]:
    """Return the parameters of a libpq URL or keyword string. Raises UnreadableDsn."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value}
    except psycopg.ProgrammingError:
        # libpq's message quotes the text, which may hold the password
        raise UnreadableDsn("it is neither a libpq URL nor keyword=value pairs") from None
    url = _URL.fullmatch(dsn)
    if url is not None and "@" in _after_user(url[1]):
        raise UnreadableDsn("it has an '@' that is not percent-encoded beside the one before the host")
    if not all(_HOST.fullmatch(host) for host in parts.get("host", "").split(",")):
        raise UnreadableDsn("what stands in the place of its host is none")
    if not all(_PORT.fullmatch(port) for port in parts.get("port", "").split(",")):
        raise UnreadableDsn("what stands in the place of its port is none")
    return parts


def _after_user(url: str) -> str:
    """Return host, port and database of a URL without its scheme, as libpq finds them."""
    first = re.search("[@/]", url)
    rest = url[first.end() :] if first is not None and first[0] == "@" else url
    return rest.partition("?")[0]


def open_connection(parts: Mapping[str, Any], *, autocommit: bool) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect by libpq's parameters, as ``parts_of`` gives them. Raises NotConnected."""
    try:
        return psycopg.connect("", autocommit=autocommit, **parts)
    except psycopg.Error as error:
        raise NotConnected(said_by(error, secrets_of(parts)), error.sqlstate) from None


def secrets_of(parts: Mapping[str, Any]) -> list[str]:
    """Return the values of a connection's parameters that nobody may read."""
    return [str(value) for name, value in parts.items() if value and _SECRET_NAMES.search(name)]


def said_by(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return what an error says, in one line, without passwords and without ``secrets``."""
    return " ".join(without(redact(str(error)), secrets).split())


def without(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with each of ``secrets``, as it is and percent-encoded, replaced by ``***``.

    >>> without('no role "a@b" (a%40b), nor c of ca', ["a@b", "c"])
    'no role "***" (***), nor *** of ca'
    """
    spelled = {one for secret in secrets if secret for one in (secret, quote(secret, safe=""))}
    for one in sorted(spelled, key=len, reverse=True):
        word = re.escape(one)
        text = re.sub(word if len(one) >= _LEAST_HIDDEN else rf"(?<!\w){word}(?!\w)", "***", text)
    return text
