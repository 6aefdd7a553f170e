"""Frozen dataclasses of arrays and numbers to plain JSON values and back. No pickles, no class names in the file."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Encoded = TypeVar("Encoded")


def encode(value: Any) -> Any:
    """Plain JSON form of a dataclass, array, tuple or mapping of such; floats keep all their digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    return value


def decode(kind: type[Encoded], value: Any) -> Encoded:
    """The dataclass ``kind`` from its plain form; unknown or missing fields are an error.

    Raises:
        TypeError: The plain form does not have exactly the fields of ``kind``.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _decode_field(hints.get(name), item) for name, item in value.items()})


def _decode_field(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is NDArray or get_origin(hint) is np.ndarray:
        return np.asarray(value, dtype=_array_type(hint))
    if get_origin(hint) is tuple:
        return tuple(_decode_field(options[0], item) for item in value)
    if get_origin(hint) is dict:
        return {key: _decode_field(options[1], item) for key, item in value.items()}
    if options:  # an optional field: X | None
        return _decode_field(options[0], value)
    return decode(hint, value) if isinstance(hint, type) and is_dataclass(hint) else value


def _array_type(hint: Any) -> Any:
    """Scalar type of ``NDArray[scalar]``."""
    (data_type,) = get_args(get_args(hint)[-1])
    return data_type
