"""How DMS reaches a source database: the parts of its connection, whichever way ``cdc.yaml`` gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cdc_platform.config.model import SourceConfig

_ENGINES = {
    "postgresql": "postgres",
    "mysql": "mysql",
    "sqlserver": "sqlserver",
    "oracle": "oracle",
    "mongodb": "mongodb",
}
#: libpq's sslmode in the words of the DMS API.
_SSL_MODES = {
    "disable": "none",
    "allow": "none",
    "prefer": "none",
    "require": "require",
    "verify-ca": "verify-ca",
    "verify-full": "verify-full",
}


@dataclass(frozen=True, slots=True)
class SourceConnection:
    """Where the database is and who asks."""

    engine: str
    host: str
    port: int
    database: str
    user: str
    ssl_mode: str
    password: str | None = field(default=None, repr=False)


def source_connection(source: str, chosen: SourceConfig) -> SourceConnection:
    """Return the parts of a source's connection. Raises ConfigError when they are not all known."""
    path = f"sources.{source}.connection"
    given = chosen.connection
    if given is None:
        mend = "add host, database, user and password: ${ENV}, or a dsn"
        raise ConfigError("cdc.yaml", [(path, "is missing; DMS reads the source by it", mend)])
    engine = _ENGINES[chosen.engine]
    if given.dsn is not None:
        return _from_dsn(path, engine, given.dsn)
    return _complete(
        path,
        engine,
        {"host": given.host, "port": str(given.port), "dbname": given.database, "user": given.user},
        given.sslmode,
        given.password.get_secret_value() if given.password is not None else None,
    )


def _from_dsn(path: str, engine: str, dsn: SecretStr) -> SourceConnection:
    from cdc_platform.postgres_dsn import DSN_MEND, UnreadableDsn, parts_of

    if engine != "postgres":
        mend = "give host, port, database, user and password instead"
        raise ConfigError("cdc.yaml", [(f"{path}.dsn", "is for PostgreSQL sources", mend)])
    try:
        parts = parts_of(dsn.get_secret_value())
    except UnreadableDsn as error:
        raise ConfigError("cdc.yaml", [(f"{path}.dsn", f"cannot be parsed: {error}", DSN_MEND)]) from None
    if "," in parts.get("host", "") + parts.get("port", ""):
        mend = "name the one that is to be replicated"
        raise ConfigError("cdc.yaml", [(f"{path}.dsn", "names several hosts; DMS reads one", mend)])
    return _complete(f"{path}.dsn", engine, dict(parts), parts.get("sslmode"), parts.get("password"))


def _complete(
    path: str, engine: str, parts: dict[str, str | None], sslmode: str | None, password: str | None
) -> SourceConnection:
    missing = [name for name in ("host", "dbname", "user") if not parts.get(name)]
    if missing:
        raise ConfigError("cdc.yaml", [(path, f"does not name {', '.join(missing)}", "name all of them")])
    return SourceConnection(
        engine=engine,
        host=str(parts["host"]),
        port=int(parts.get("port") or 5432),
        database=str(parts["dbname"]),
        user=str(parts["user"]),
        ssl_mode=_SSL_MODES.get(sslmode or "prefer", "none"),
        password=password,
    )
