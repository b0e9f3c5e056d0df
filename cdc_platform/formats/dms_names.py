"""What the key of a raw file says, and how DMS would name one.

Below ``<schema>/<table>/`` DMS writes (extensions ``csv`` and ``parquet``, each with ``.gz`` or without):

* ``LOAD0000000A.parquet``: the tenth file of a full load (the counter is hexadecimal);
* ``SEGMENT3_LOAD00000001.parquet`` and ``<partition>/LOAD00000001.parquet``: a load in parallel parts;
* ``20211123-013830913.parquet`` or ``20141029-1134010000.csv``: changes; the name is the UTC time at which
  the file was made, with 3 or 4 digits of a second's fraction, alone or in a date folder (any of DMS's
  sequences and delimiters). The date folder says nothing and is never used.

``CDC_TXN-…`` files of transaction-preserving mode are recognised to be refused by name.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cdc_platform.config.model import RawOptions
from cdc_platform.errors import UnknownRawFileName
from cdc_platform.raw.files import FileKind, RawFileName

_EXTENSION = r"\.(?P<extension>(?:csv|parquet)(?:\.gz)?)"
_LOAD = re.compile(
    rf"(?:SEGMENT(?P<segment>[0-9]+)_)?LOAD(?P<counter>[0-9A-Fa-f]{{8}}){_EXTENSION}", re.ASCII
)
_CHANGES = re.compile(
    rf"(?P<date>[0-9]{{8}})-(?P<time>[0-9]{{6}})(?P<fraction>[0-9]{{3,4}}){_EXTENSION}", re.ASCII
)
_TRANSACTIONS = re.compile(r"CDC_TXN-[0-9]+", re.ASCII)
# YYYYMMDD, YYYYMMDDHH, YYYYMM, MMYYYYDD, DDMMYYYY with one delimiter throughout
_DATE_FOLDER = re.compile(
    r"[0-9]{4}(?P<d>[/_-]?)[0-9]{2}(?:(?P=d)[0-9]{2}){0,2}"
    r"|[0-9]{2}(?P<e>[/_-]?)[0-9]{4}(?P=e)[0-9]{2}"
    r"|[0-9]{2}(?P<f>[/_-]?)[0-9]{2}(?P=f)[0-9]{4}",
    re.ASCII,
)


def parse_raw_file_name(key: str, options: RawOptions) -> RawFileName:
    """Return what ``key`` (relative to the raw location) says.

    The extension decides how the file is read, whatever ``options.format`` says: an endpoint may have been
    changed in mid-life. Raises UnknownRawFileName, saying which names there are.
    """
    *folders, name = key.split("/")
    if _TRANSACTIONS.match(name):
        raise UnknownRawFileName(
            "the task writes in transaction-preserving mode, which is not supported",
            where=_where(key, options),
            mend="set PreserveTransactions to false and CdcPath to none on the S3 endpoint, and reload",
        )
    if len(folders) >= 2 and all(folders):
        schema, table, *inner = folders
        if found := _LOAD.fullmatch(name):
            return _load_name(key, schema, table, inner, found, options)
        if found := _CHANGES.fullmatch(name):
            return _change_name(key, schema, table, inner, found, options)
    raise _unknown(key, options, "is not a name DMS gives a raw file")


def load_file_key(
    schema: str, table: str, counter: int, *, segment: str = "", extension: str = "parquet"
) -> str:
    """Return the key DMS gives file ``counter`` of a full load.

    ``segment`` is ``SEGMENT<n>`` (a prefix of the name), any other text a partition sub-folder.

    >>> load_file_key("public", "orders", 10, segment="SEGMENT2")
    'public/orders/SEGMENT2_LOAD0000000A.parquet'
    """
    *folders, last = [part for part in segment.split("/") if part] or [""]
    is_prefix = bool(re.fullmatch(r"SEGMENT[0-9]+", last))
    prefix = f"{last}_" if is_prefix else ""
    inner = [*folders, *([] if is_prefix or not last else [last])]
    return "/".join([schema, table, *inner, f"{prefix}LOAD{counter:08X}.{extension}"])


def change_file_key(
    schema: str,
    table: str,
    at: datetime,
    *,
    fraction_digits: int = 3,
    date_folder: str = "",
    extension: str = "parquet",
) -> str:
    """Return the key DMS gives a file of changes made at ``at`` (tz-aware), to 3 or 4 digits of a second.

    >>> change_file_key("public", "orders", datetime(2021, 11, 23, 1, 38, 30, 913000, UTC))
    'public/orders/20211123-013830913.parquet'
    """
    utc = at.astimezone(UTC)
    fraction = f"{utc.microsecond:06d}"[:fraction_digits]
    inner = [date_folder] if date_folder else []
    return "/".join([schema, table, *inner, f"{utc:%Y%m%d-%H%M%S}{fraction}.{extension}"])


def _load_name(
    key: str, schema: str, table: str, inner: list[str], found: re.Match[str], options: RawOptions
) -> RawFileName:
    if len(inner) > 1:
        raise _unknown(key, options, "lies too deep: a load's partition is one folder")
    numbered = [f"SEGMENT{found['segment']}"] if found["segment"] else []
    return RawFileName(
        kind=FileKind.LOAD,
        schema=schema,
        table=table,
        segment="/".join([*inner, *numbered]),
        file_time=None,
        counter=int(found["counter"], 16),
        extension=found["extension"],
    )


def _change_name(
    key: str, schema: str, table: str, inner: list[str], found: re.Match[str], options: RawOptions
) -> RawFileName:
    if inner and not _DATE_FOLDER.fullmatch("/".join(inner)):
        raise _unknown(key, options, f"is a file of changes in {'/'.join(inner)!r}, not a date folder")
    try:
        at = datetime.strptime(found["date"] + found["time"], "%Y%m%d%H%M%S")
    except ValueError:
        raise _unknown(key, options, "is named by a time that does not exist") from None
    return RawFileName(
        kind=FileKind.CHANGES,
        schema=schema,
        table=table,
        segment="",
        file_time=at.replace(microsecond=int(found["fraction"].ljust(6, "0")), tzinfo=UTC),
        counter=None,
        extension=found["extension"],
    )


def _where(key: str, options: RawOptions) -> str:
    return f"{options.location.rstrip('/')}/{key}"


def _unknown(key: str, options: RawOptions, what: str) -> UnknownRawFileName:
    return UnknownRawFileName(
        f"{key.rpartition('/')[2]!r} {what}",
        where=_where(key, options),
        mend="move it out of the raw location if DMS did not write it; names are "
        "<schema>/<table>/LOAD0000000A.parquet, SEGMENT1_LOAD…, 20211123-013830913.parquet, or .csv",
    )
