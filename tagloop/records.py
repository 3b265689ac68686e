"""Turns JSON values into a dataclass, or refuses them if one does not fit.

    facts = read_record(json.loads(text), Facts)

Another program or another user may have written the JSON. The annotations of the fields say which
values fit: int, float, str, bool, None, Any, unions of these, list[...], dict[str, ...], Literal
(of which only the type counts) and further dataclasses. A field with a default may be missing.
"""

import dataclasses
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def read_record(values: object, kind: type[Record], place: str = "") -> Record:
    """Make a dataclass of JSON values; every value must fit the annotation of its field.

    Args:
        values: a JSON object, with an entry for each field.
        kind: the dataclass.
        place: the name of the object that holds these values, for the message.

    Raises:
        ValueError: a value is missing, unknown or of another type. The message names the field.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    ...     y: float | None = None
    >>> read_record({"x": 1, "y": 2}, Point)
    Point(x=1, y=2)
    >>> read_record({"x": "1"}, Point)
    Traceback (most recent call last):
    ValueError: x is no int
    """
    return _convert(values, kind, place)


def known_fields(values: object, kind: type) -> object:
    """The entries of a JSON object that are fields of a dataclass; other JSON stays as it is."""
    if not isinstance(values, dict):
        return values
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def is_like(value: object, own: object) -> bool:
    """True if two JSON values have the same types, keys and lengths; an int fits a float."""
    if isinstance(own, dict):
        fits = isinstance(value, dict) and value.keys() == own.keys()
        return fits and all(is_like(value[name], own[name]) for name in own)
    if isinstance(own, list):
        fits = isinstance(value, list) and len(value) == len(own)
        return fits and all(map(is_like, value, own))
    return type(value) is type(own) or (type(own) is float and type(value) is int)


def _convert(value: object, kind: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_to_one_of(value, arguments, kind, place)
    if origin is Literal:  # Another version may have had further choices, so any text fits.
        return _convert(value, type(arguments[0]), place)
    if dataclasses.is_dataclass(kind):
        return _convert_to_dataclass(value, kind, place)
    if (origin or kind) is dict and isinstance(value, dict):
        inner = arguments[1] if arguments else Any
        return {name: _convert(each, inner, _join(place, name)) for name, each in value.items()}
    if (origin or kind) is list and isinstance(value, list):
        inner = arguments[0] if arguments else Any
        return [_convert(each, inner, f"{place}[{i}]") for i, each in enumerate(value)]
    if kind is float and type(value) in (int, float) and is_finite(value):
        return value
    if kind in (int, str, bool, types.NoneType) and type(value) is kind:
        return value
    raise ValueError(f"{place or 'the whole'} is no {_name(kind)}")


def _convert_to_one_of(value: object, kinds: tuple, union: Any, place: str) -> Any:
    for kind in kinds:
        try:
            return _convert(value, kind, place)
        except ValueError:
            continue
    raise ValueError(f"{place} is no {_name(union)}")


def _convert_to_dataclass(value: object, kind: type, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'the whole'} is no JSON object")
    hints, fields = get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    if unknown := value.keys() - fields.keys():
        raise ValueError(f"{place or 'the whole'} has unknown {', '.join(sorted(unknown))}")
    for name, field in fields.items():
        is_needed = field.default is field.default_factory is dataclasses.MISSING
        if is_needed and name not in value:
            raise ValueError(f"{_join(place, name)} is missing")
    return kind(
        **{name: _convert(each, hints[name], _join(place, name)) for name, each in value.items()}
    )


def is_finite(value: float) -> bool:
    """True if a number is finite as a float; an integer may be larger than any float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # The integer is larger than any float.
        return False


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _name(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, get_args(kind)))
    return getattr(origin or kind, "__name__", str(kind)).replace("NoneType", "null")
