"""The one YAML loader: YAML 1.2 scalars, no repeated keys, no tags, then validation through a pydantic model."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from domain.errors import SettingsError
from domain.specs import describe_validation_error

Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's surprises (``no`` as False, ``1:30`` as 90, ``012`` as 10)."""


_StrictLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$",
        "-+.0123456789",
    ),
):
    _StrictLoader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _construct_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            mark = key_node.start_mark
            raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_yaml(path: Path) -> Any:
    """Read one YAML document as plain Python values.

    Raises:
        SettingsError: The file is missing, is not YAML, or repeats a key.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise SettingsError(path, ["no such file"]) from error
    except OSError as error:
        raise SettingsError(path, [f"cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(path, [f"not readable as YAML: {' '.join(str(error).split())}"]) from error


def validate(model: type[Model], value: object, *, source: str | Path) -> Model:
    """Validate plain values through JSON: strict Python mode would refuse YAML lists where tuples are meant.

    Raises:
        SettingsError: With one line per problem.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingsError(source, [f"holds a value that is not plain data: {error}"]) from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(source, describe_validation_error(error)) from error


def apply_overrides(value: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``--set a.b=value`` items, in order, to a copy. The right side is read as YAML.

    Raises:
        SettingsError: An item is not ``key=value``, or goes through something that is not a mapping.

    Example:
        >>> apply_overrides({"training": {"epochs": 5}}, ["training.epochs=8"])
        {'training': {'epochs': 8}}
    """
    result: dict[str, Any] = json.loads(json.dumps(value))
    for item in overrides:
        dotted, separator, text = item.partition("=")
        if not separator or not dotted:
            raise SettingsError("--set", [f"{item!r} is not of the form a.b=value"])
        *parents, last = dotted.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise SettingsError("--set", [f"{item!r}: {parent!r} is not a group of settings"])
        try:
            place[last] = yaml.load(text, Loader=_StrictLoader)
        except yaml.YAMLError as error:
            raise SettingsError("--set", [f"{item!r}: the value is not readable as YAML"]) from error
    return result


def load_settings(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """File, then ``--set`` overrides, then validation.

    Raises:
        SettingsError: With one line per problem.
    """
    return validate(model, _overridden(path, overrides), source=path)


def load_one_of(models: Mapping[str, type[Model]], path: Path, overrides: Sequence[str] = (), *, default: str) -> Model:
    """As ``load_settings``, by the model that the key ``kind`` names.

    Args:
        models: Value of ``kind`` -> model.
        path: The file.
        overrides: ``--set`` items.
        default: The kind of a file without the key.

    Raises:
        SettingsError: No such kind, or one line per problem.
    """
    value = _overridden(path, overrides)
    kind = value.get("kind", default)
    if kind not in models:
        raise SettingsError(path, [f"kind: {kind!r} is none of {', '.join(models)}"])
    return validate(models[kind], value, source=path)


def _overridden(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    value = load_yaml(path)
    if not isinstance(value, dict):
        raise SettingsError(path, [f"expected a mapping of settings at the top, found {type(value).__name__}"])
    return apply_overrides(value, overrides)
