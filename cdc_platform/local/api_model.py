"""botocore's own model of the DMS API, used from the server's side.

Input is checked against the very shapes boto3 is built from (types, required members, enums, lengths), and
output is cut to them, so that what the endpoint takes and gives is what AWS takes and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from cdc_platform.local.api_errors import ApiError, unreadable, violates_shape

if TYPE_CHECKING:
    from botocore.model import ListShape, ServiceModel, Shape, StructureShape

TARGET_PREFIX = "AmazonDMSv20160101."
CONTENT_TYPE = "application/x-amz-json-1.1"

#: Enums of which the API's text documents an upper-case spelling with underscores beside the model's own
#: (``GZIP``, ``SSE_S3``); both are taken and the model's is kept.
_TWO_SPELLINGS = frozenset(
    {"CompressionTypeValue", "EncryptionModeValue", "EncodingTypeValue", "ParquetVersionValue"}
    | {"CannedAclForObjectsValue", "DataFormatValue", "DatePartitionDelimiterValue"}
)
#: The model lists fewer values than the API's text: replication-task events exist.
_OPEN_ENUMS = frozenset({"SourceType"})

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "list": (list,),
    "structure": (dict,),
    "map": (dict,),
}


@cache
def service_model() -> ServiceModel:
    """Return botocore's model of the service."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("dms", "service-2"), "dms")


def parse_input(operation: str, body: object) -> dict[str, Any]:
    """Return ``body`` checked against ``operation``'s input shape, timestamps as aware datetimes.

    Raises ApiError: SerializationException for wrong JSON types, ValidationException for the rest.
    """
    shape = service_model().operation_model(operation).input_shape
    if not isinstance(body, dict):
        raise unreadable("the request body is not a JSON object")
    if shape is None:
        return {}
    faults: list[str] = []
    parsed = cast("dict[str, Any]", _parse(shape, body, "", faults))
    if faults:
        raise violates_shape(faults)
    return parsed


def _parse(shape: Shape, value: Any, path: str, faults: list[str]) -> Any:
    allowed: tuple[Any, ...] = _JSON_TYPES.get(shape.type_name, (object,))
    is_stray_bool = isinstance(value, bool) and bool not in allowed and object not in allowed
    if is_stray_bool or not _is_of(value, allowed):
        raise unreadable(f"{path or 'the body'}: {type(value).__name__} is not of type {shape.type_name}")
    match shape.type_name:
        case "structure":
            return _parse_structure(cast("StructureShape", shape), value, path, faults)
        case "list":
            member = cast("ListShape", shape).member
            _check_range(shape, len(value), path, faults)
            return [_parse(member, item, f"{path}.{i + 1}.member", faults) for i, item in enumerate(value)]
        case "timestamp":
            return _timestamp(value, path)
        case "string":
            _check_range(shape, len(value), path, faults)
            return _enum_value(shape, value, path, faults)
    return value


def _is_of(value: object, allowed: tuple[type, ...]) -> bool:
    return isinstance(value, allowed)


def _parse_structure(
    shape: StructureShape, value: Mapping[str, Any], path: str, faults: list[str]
) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name in value:
        if name not in shape.members:
            faults.append(f"{_joined(path, name)} is not a member of {shape.name} in this version of the API")
    for name, member in shape.members.items():
        given = value.get(name)
        if given is not None:
            parsed[name] = _parse(member, given, _joined(path, name), faults)
        elif name in shape.required_members:
            faults.append(
                f"Value null at '{_joined(path, name)}' failed to satisfy constraint: Member must not be null"
            )
    return parsed


def _joined(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def _check_range(shape: Shape, length: int, path: str, faults: list[str]) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and length < low:
        faults.append(f"'{path}' failed to satisfy constraint: Member must have length of at least {low}")
    if high is not None and length > high:
        faults.append(f"'{path}' failed to satisfy constraint: Member must have length of at most {high}")


def _enum_value(shape: Shape, value: str, path: str, faults: list[str]) -> str:
    choices = cast("list[str]", getattr(shape, "enum", []))
    if not choices or value in choices or shape.name in _OPEN_ENUMS:
        return value
    if shape.name in _TWO_SPELLINGS:
        folded = {choice.lower(): choice for choice in choices}
        found = folded.get(value.lower().replace("_", "-"))
        if found is not None:
            return found
    faults.append(
        f"Value '{value}' at '{path}' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{', '.join(choices)}]"
    )
    return value


def _timestamp(value: float | str, path: str) -> datetime:
    from botocore.utils import parse_to_aware_datetime

    try:
        return parse_to_aware_datetime(cast("Any", value)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as fault:
        raise unreadable(f"{path}: {value!r} is not a timestamp") from fault


def serialise_output(operation: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``result`` as JSON values, cut to the operation's output shape; None members are left out."""
    shape = service_model().operation_model(operation).output_shape
    return cast("dict[str, Any]", _serialise(shape, result)) if shape is not None else {}


def _serialise(shape: Shape, value: Any) -> Any:
    match shape.type_name:
        case "structure":
            members = cast("StructureShape", shape).members
            return {
                name: _serialise(member, value[name])
                for name, member in members.items()
                if value.get(name) is not None and not member.metadata.get("sensitive")
            }
        case "list":
            member = cast("ListShape", shape).member
            return [_serialise(member, item) for item in value]
        case "timestamp":
            return value.timestamp() if isinstance(value, datetime) else value
    return value


def check_operation(name: str) -> None:
    """Raise ApiError unless the service has an operation ``name``."""
    if name not in service_model().operation_names:
        raise ApiError("UnknownOperationException", f"the service has no operation {name!r}")
