"""As much of JSON Schema as metrics.schema.json uses."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}
_KNOWN = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "required", "additionalProperties", "properties"),
    *("items", "minItems", "maxItems", "minimum", "maximum", "enum", "const", "allOf"),
}


def check(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "metrics") -> None:
    """Raises AssertionError, naming the place, where ``value`` does not follow ``schema``."""
    assert schema.keys() <= _KNOWN, where
    if "$ref" in schema:
        check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    for part in schema.get("allOf", ()):
        check(value, part, root, where)
    kinds = schema.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    assert any(isinstance(value, _TYPES[kind]) for kind in kinds), f"{where} is {value!r}, not {kinds}"
    assert not (isinstance(value, bool) and "boolean" not in kinds), where
    assert value == schema.get("const", value), where
    assert value in schema.get("enum", [value]), where
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where} is {value}"
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)), where
        for index, entry in enumerate(value):
            check(entry, schema.get("items", {}), root, f"{where}[{index}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert value.keys() >= set(schema.get("required", ())), where
        extra = schema.get("additionalProperties", True)
        for name, entry in value.items():
            if name in properties:
                check(entry, properties[name], root, f"{where}.{name}")
            else:
                assert extra is not False, f"{where}.{name} is not in the schema"
                check(entry, {} if extra is True else extra, root, f"{where}.{name}")
