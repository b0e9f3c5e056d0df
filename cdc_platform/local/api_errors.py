"""The errors of the DMS API as values: a code, a message, and how AWS spells them on the wire."""

from __future__ import annotations

from cdc_platform.errors import redact


class ApiError(Exception):
    """A request that is refused, as AWS would refuse it. ``code`` becomes the ClientError's code."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = redact(message)
        super().__init__(f"{code}: {self.message}")


def not_found(message: str) -> ApiError:
    """The resource does not exist, or no resource matches the filters."""
    return ApiError("ResourceNotFoundFault", message)


def already_exists(message: str) -> ApiError:
    """A resource of that identifier exists."""
    return ApiError("ResourceAlreadyExistsFault", message)


def invalid_state(message: str) -> ApiError:
    """The resource is not in a state that allows the request."""
    return ApiError("InvalidResourceStateFault", message)


def invalid_value(message: str) -> ApiError:
    """A parameter's value is not one the API takes."""
    return ApiError("InvalidParameterValueException", message)


def invalid_combination(message: str) -> ApiError:
    """Parameters that are fine one by one do not go together."""
    return ApiError("InvalidParameterCombinationException", message)


def violates_shape(faults: list[str]) -> ApiError:
    """The input breaks constraints of the service's own model."""
    count = len(faults)
    head = f"{count} validation error{'s' if count != 1 else ''} detected: "
    return ApiError("ValidationException", head + "; ".join(faults))


def unreadable(message: str) -> ApiError:
    """The body is not JSON, or a member is of another JSON type than the model says."""
    return ApiError("SerializationException", message)
