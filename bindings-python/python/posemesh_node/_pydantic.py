"""How pydantic, and thus FastAPI, reads and writes errors. Imported only when pydantic meets one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import CoreSchema, core_schema


def error_schema(cls: type[Any], classes: Iterable[type[Any]]) -> CoreSchema:
    """An error is an object with a ``name`` and a ``message``; the name selects one of ``classes``, or ``cls``."""

    by_name = {known.name: known for known in classes}

    def read(fields: dict[str, Any]) -> Any:
        return by_name.get(fields["name"], cls)(fields["message"])

    def write(error: Any) -> dict[str, str]:
        return {"name": error.name, "message": str(error)}

    text = core_schema.typed_dict_field(core_schema.str_schema())
    fields = core_schema.typed_dict_schema({"name": text, "message": text})
    from_fields = core_schema.no_info_after_validator_function(read, fields)
    return core_schema.json_or_python_schema(
        json_schema=from_fields,
        python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_fields]),
        serialization=core_schema.plain_serializer_function_ser_schema(write, return_schema=fields),
    )
