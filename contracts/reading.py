"""Reading what a newer release of ours wrote: after a rollback its records are still there.

Records and events ignore unknown fields. Some of them hold a part that is strict wherever somebody
sends it, such as a brief or a manifest; in a record, it forgives too. Requests never do: to pass
over what was asked for would be to make something else.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")


class Reader(Generic[T]):
    """Decodes one type; a field that this release does not know is passed over at any depth."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, body: bytes) -> T:
        """Return the value. Raises msgspec.DecodeError for anything else that is wrong with it."""
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            if "unknown field" not in str(error):
                raise
        known = without_unknown(msgspec.json.decode(body), inspect.type_info(self._kind))
        return self._decoder.decode(msgspec.json.encode(known))


def without_unknown(value: Any, node: inspect.Type) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON without the fields that the type does not know; what else is wrong stays."""
    if isinstance(node, inspect.UnionType):
        return _of_union(value, node)
    if isinstance(value, list) and isinstance(node, inspect.ListType):
        return [without_unknown(item, node.item_type) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(node, inspect.DictType):
        return {key: without_unknown(item, node.value_type) for key, item in value.items()}
    return _of_struct(value, node) if isinstance(node, inspect.StructType) else value


def _of_struct(value: dict[str, Any], node: inspect.StructType) -> dict[str, Any]:
    types = {field.encode_name: field.type for field in node.fields}
    tag = {node.tag_field: value[node.tag_field]} if node.tag_field in value else {}
    return tag | {
        name: without_unknown(item, types[name]) for name, item in value.items() if name in types
    }


def _of_union(value: Any, node: inspect.UnionType) -> Any:  # noqa: ANN401 - any JSON
    """Go on with the member that the value is of, as msgspec would choose it."""
    if isinstance(value, dict):
        for member in node.types:
            if isinstance(member, inspect.StructType | inspect.DictType) and _fits(value, member):
                return without_unknown(value, member)
    if isinstance(value, list):
        for member in node.types:
            if isinstance(member, inspect.ListType):
                return without_unknown(value, member)
    return value


def _fits(value: dict[str, Any], member: inspect.StructType | inspect.DictType) -> bool:
    """Say whether an object is of this member: by its tag, where there are several."""
    if isinstance(member, inspect.DictType) or member.tag_field is None:
        return True
    return bool(value.get(member.tag_field) == member.tag)
