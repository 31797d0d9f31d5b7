"""How pydantic, and so FastAPI, reads and writes errors. Imported by pydantic's first look at one."""

from __future__ import annotations

from typing import Any

from pydantic_core import CoreSchema, core_schema

from ._errors import CLASSES, PosemeshError


def error_schema(cls: type[PosemeshError]) -> CoreSchema:
    """An error is an object with its ``name`` and ``message``."""

    def read(fields: dict[str, Any]) -> PosemeshError:
        found = next((known for known in CLASSES.values() if known.name == fields["name"]), cls)
        return found(fields["message"])

    def write(error: PosemeshError) -> dict[str, str]:
        return {"name": error.name, "message": str(error)}

    text = core_schema.typed_dict_field(core_schema.str_schema())
    fields = core_schema.typed_dict_schema({"name": text, "message": text})
    from_fields = core_schema.no_info_after_validator_function(read, fields)
    return core_schema.json_or_python_schema(
        json_schema=from_fields,
        python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_fields]),
        serialization=core_schema.plain_serializer_function_ser_schema(write, return_schema=fields),
    )
