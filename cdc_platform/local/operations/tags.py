"""Tags of instances, endpoints and tasks."""

from __future__ import annotations

from typing import Any

from cdc_platform.local.api_errors import invalid_value, not_found
from cdc_platform.local.context import Call, Context
from cdc_platform.local.store import Document

_MOST_TAGS = 50


def add(context: Context, call: Call) -> dict[str, Any]:
    """AddTagsToResource; a tag of the same key is replaced."""
    arn = call.request["ResourceArn"]
    tags = {tag["Key"]: tag for tag in _tags_of(context, arn)}
    for tag in call.request["Tags"]:
        if not tag.get("Key"):
            raise invalid_value("A tag needs a Key")
        tags[tag["Key"]] = {"Key": tag["Key"], "Value": tag.get("Value", "")}
    if len(tags) > _MOST_TAGS:
        raise invalid_value(f"A resource has at most {_MOST_TAGS} tags")
    context.store.put("tags", arn, {"tags": list(tags.values())})
    return {}


def list_tags(context: Context, call: Call) -> dict[str, Any]:
    """ListTagsForResource, of one resource or several."""
    single, several = call.request.get("ResourceArn"), call.request.get("ResourceArnList")
    if (single is None) == (several is None):
        raise invalid_value("Give either ResourceArn or ResourceArnList")
    arns: list[str] = several or [single or ""]
    return {
        "TagList": [
            {"Key": tag["Key"], "Value": tag.get("Value", ""), "ResourceArn": arn}
            for arn in arns
            for tag in _tags_of(context, arn)
        ]
    }


def remove(context: Context, call: Call) -> dict[str, Any]:
    """RemoveTagsFromResource."""
    arn = call.request["ResourceArn"]
    gone = set(call.request["TagKeys"])
    kept = [tag for tag in _tags_of(context, arn) if tag["Key"] not in gone]
    context.store.put("tags", arn, {"tags": kept})
    return {}


def _tags_of(context: Context, arn: str) -> list[Document]:
    found = context.store.get("tags", arn)
    if found is None:
        raise not_found(f"Resource not found: {arn}")
    tags: list[Document] = found["tags"]
    return tags
