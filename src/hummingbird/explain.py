"""Says in words what is wrong with a parameter file, from pydantic's errors and the JSON schema of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from hummingbird.errors import did_you_mean

Location = tuple[int | str, ...]
Schema = dict[str, Any]

TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section of `name: value` lines",
    "null": "empty (null)",
}


def explain_errors(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each wrong parameter: its name, its value, and what it may be.

    An unknown name gets the nearest valid one, a value outside its range the whole range, even where pydantic knows
    only the bound that was crossed.
    """
    schema = model.model_json_schema()
    lines: dict[str, str] = {}  # by name, because a union reports the same value once for each of its branches
    for item in error.errors():
        names_unknown = item["type"] in ("extra_forbidden", "missing")
        nodes, location = _walk(schema, item["loc"], names_unknown)
        where = ".".join(location) or "the file"
        lines.setdefault(where, _explain_one(item["type"], where, item["input"], item["msg"], nodes))
    return list(lines.values())


def missing_names(section: BaseModel, prefix: str = "") -> list[str]:
    """Dotted names, with the value they would take, of all fields that were left to their default."""
    missing = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name not in section.model_fields_set:
            shown = " (a whole section)" if isinstance(value, BaseModel) else f": {_shown(value)}"
            missing.append(f"{prefix}{name}{shown}")
        elif isinstance(value, BaseModel):
            missing += missing_names(value, f"{prefix}{name}.")
    return missing


def _explain_one(kind: str, where: str, value: Any, message: str, nodes: list[Schema]) -> str:
    if kind == "extra_forbidden":
        *_, last = where.split(".")
        known = {name for node in nodes for name in node.get("properties", {})}
        return f"{where}: unknown parameter; {did_you_mean(last, known)}"
    if kind == "missing":
        return f"{where}: missing; it must be {_describe(nodes)}"
    if kind == "literal_error":
        choices = [str(choice) for node in nodes for choice in node.get("enum", [node.get("const")])]
        return f"{where} = {_shown(value)}: must be {_describe(nodes)}; {did_you_mean(str(value), choices)}"
    if kind == "value_error" or not nodes:  # from a validator of the section: it has its own words
        return f"{where} = {_shown(value)}: {message.removeprefix('Value error, ')}"
    return f"{where} = {_shown(value)}: must be {_describe(nodes)}"


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _walk(schema: Schema, location: Location, names_unknown: bool) -> tuple[list[Schema], list[str]]:
    """The schemas at ``location`` and its printable parts. Where its last part names nothing that the schema has
    (``names_unknown``), the schemas are those of the section around it.

    Pydantic puts the names of union branches into a location; no schema has them, and no reader wants them.
    """
    definitions = schema.get("$defs", {})
    nodes, names = list(_branches(schema, definitions)), []
    for part in location:
        below = [child for node in nodes for child in _children(node, part)]
        if not below and not (names_unknown and part == location[-1]):
            continue
        names.append(str(part))
        if below:
            nodes = [branch for child in below for branch in _branches(child, definitions)]
    return nodes, names


def _branches(node: Schema, definitions: dict[str, Schema]) -> Iterator[Schema]:
    """``node`` without references, and each of its alternatives if it is a union."""
    if "$ref" in node:
        node = definitions[node["$ref"].removeprefix("#/$defs/")]
    alternatives = [choice for key in ("anyOf", "oneOf", "allOf") for choice in node.get(key, [])]
    if not alternatives:
        yield node
    for choice in alternatives:
        yield from _branches(choice, definitions)


def _children(node: Schema, part: int | str) -> Iterator[Schema]:
    if part in node.get("properties", {}):
        yield node["properties"][part]
    elif isinstance(part, int):
        items = node.get("prefixItems", [])
        if part < len(items):
            yield items[part]
        elif isinstance(node.get("items"), dict):
            yield node["items"]
    elif isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]


def _describe(nodes: Iterable[Schema]) -> str:
    return " or ".join(dict.fromkeys(_describe_one(node) for node in nodes))


def _describe_one(node: Schema) -> str:
    choices = node.get("enum", [node["const"]] if "const" in node else [])
    if choices:
        return f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else str(choices[0])
    return " ".join(filter(None, (TYPE_NAMES.get(node.get("type", ""), "another value"), _range(node))))


def _range(node: Schema) -> str:
    """The bounds of a number or the length of a list or text, in words; empty if there are none."""
    if "minimum" in node and "maximum" in node:
        return f"from {node['minimum']:g} to {node['maximum']:g}"
    bounds = (
        ("minimum", "of at least {:g}"),
        ("exclusiveMinimum", "greater than {:g}"),
        ("maximum", "of at most {:g}"),
        ("exclusiveMaximum", "less than {:g}"),
        ("multipleOf", "that is a multiple of {:g}"),
        ("minItems", "with at least {} entries"),
        ("maxItems", "with at most {} entries"),
        ("minLength", "of at least {} letters"),
        ("maxLength", "of at most {} letters"),
    )
    return " and ".join(words.format(node[key]) for key, words in bounds if key in node)
