"""The lake: the Iceberg catalog, where each source's tables are in it, and the small objects beside them."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError
from pyiceberg.table import Table

from cdc_platform.config.model import GlueCatalog, PlatformConfig, SqlCatalog, bytes_of
from cdc_platform.errors import ConfigError, redact
from cdc_platform.lake.avro_readers import read_avro_quickly
from cdc_platform.lake.branch import at_write_branch
from cdc_platform.lake.damage import damaged_catalog, is_damaged_catalog
from cdc_platform.lake.key_lookup import IndexFolder
from cdc_platform.lake.outages import outages
from cdc_platform.raw.objects import ObjectStore, open_object_store

#: Where the platform's own objects lie below the warehouse, beside the namespaces.
OBJECTS_FOLDER = "_cdc"

#: How long a writer waits for another one's short write to the SQLite catalog.
_SQLITE_BUSY_SECONDS = 60
_OPENINGS = 5
_OPENING_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Lake:
    """An open catalog with the configuration it was opened from."""

    config: PlatformConfig
    catalog: Catalog
    warehouse: str

    def identifier(self, source: str, table_id: str) -> tuple[str, ...]:
        """Return the Iceberg identifier of a base table."""
        return (*self.namespace(source), table_id)

    def namespace(self, source: str) -> tuple[str, ...]:
        """Return the Iceberg namespace of a source's tables."""
        return tuple(self.config.lake.namespace.format(source=source).split("."))

    def load(self, source: str, table_id: str) -> Table | None:
        """Return the base table as merges left it, which main may not show yet; None before its first merge.

        Raises StorageUnavailable when the catalog cannot be reached.
        """
        identifier = self.identifier(source, table_id)
        with outages(".".join(identifier)):
            try:
                return at_write_branch(self.catalog.load_table(identifier))
            except NoSuchTableError:
                return None

    def load_published(self, source: str, table_id: str) -> Table | None:
        """Return the base table as readers of main see it, None before its first merge.

        Raises StorageUnavailable when the catalog cannot be reached.
        """
        identifier = self.identifier(source, table_id)
        with outages(".".join(identifier)):
            try:
                return self.catalog.load_table(identifier)
            except NoSuchTableError:
                return None

    def ensure_namespace(self, source: str) -> None:
        """Make the source's namespace when it is not there."""
        namespace = self.namespace(source)
        with outages(".".join(namespace)):
            try:
                self.catalog.create_namespace(namespace)
            except NamespaceAlreadyExistsError:
                return
            except Exception:
                # an SQL catalog looks, then inserts: another process may have been in between
                if not self.catalog.namespace_exists(namespace):
                    raise

    def objects(self, source: str, table_id: str) -> ObjectStore:
        """Return the store of the table's manifests, tombstones, quarantine and reports."""
        return open_object_store(f"{self.warehouse}/{OBJECTS_FOLDER}/{source}/{table_id}")

    def spill_folder(self) -> Path:
        """Return the folder engines spill to, which exists."""
        configured = self.config.engine.temp_directory
        if configured:
            folder = Path(self.config.path_of(configured))
        elif "://" in self.warehouse:
            folder = Path(tempfile.gettempdir()) / "cdc-spill"
        else:
            folder = Path(self.warehouse).parent / "spill"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def index_folder(self) -> IndexFolder:
        """Return the folder of the key indexes, which need not exist, and what it may take up.

        It is beside the folder engines spill to: indexes outlive the process that built them.
        """
        spill = self.spill_folder()
        folder = spill.with_name(f"{spill.name}-key-indexes")
        engine = self.config.engine
        return IndexFolder(folder, bytes_of(engine.key_index_limit), engine.threads)

    def close(self) -> None:
        """Let go of the catalog's connections."""
        self.catalog.close()

    def __enter__(self) -> Lake:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_lake(config: PlatformConfig) -> Lake:
    """Open the configured catalog; a laptop's SQLite file and warehouse folder are made when missing.

    Raises ConfigError when the catalog cannot be opened, MergeError when its SQLite file is damaged.
    """
    read_avro_quickly()
    warehouse = config.path_of(config.lake.warehouse)
    options = config.lake.catalog
    try:
        catalog = _sql(options, warehouse) if isinstance(options, SqlCatalog) else _glue(options, warehouse)
    except Exception as e:
        if is_damaged_catalog(e):
            default = f"sqlite:///{warehouse}/catalog.sqlite"
            given = options.uri if isinstance(options, SqlCatalog) and options.uri else default
            raise damaged_catalog(e, redact(given.removeprefix("sqlite:///").partition("?")[0])) from e
        mend = "correct `lake.catalog`, or make the catalog reachable"
        what = f"the {options.type} catalog cannot be opened: {redact(str(getattr(e, 'orig', e)))}"
        raise ConfigError("cdc.yaml", [("lake.catalog", what, mend)]) from e
    return Lake(config, catalog, warehouse)


def _sql(options: SqlCatalog, warehouse: str) -> Catalog:
    from sqlalchemy.exc import SQLAlchemyError

    from cdc_platform.lake.sql_catalog import QuickSqlCatalog

    uri = options.uri
    if uri is None:
        if "://" in warehouse:
            raise ValueError("an SQL catalog over a remote warehouse needs `uri`")
        Path(warehouse).mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{warehouse}/catalog.sqlite?timeout={_SQLITE_BUSY_SECONDS}"
    for attempt in range(_OPENINGS):
        try:
            return QuickSqlCatalog(options.name, uri=uri, warehouse=warehouse, **options.properties)
        except SQLAlchemyError as e:
            # several that open a new catalog at once all find its tables missing, and one makes them
            if "already exists" not in str(e) or attempt == _OPENINGS - 1:
                raise
            time.sleep(_OPENING_PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _glue(options: GlueCatalog, warehouse: str) -> Catalog:
    from pyiceberg.catalog.glue import GlueCatalog as PyIcebergGlueCatalog

    return PyIcebergGlueCatalog(options.name, warehouse=warehouse, **options.properties)
