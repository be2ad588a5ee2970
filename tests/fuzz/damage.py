"""Bytes and JSON as they come from a bad disk, a cut connection, another version of a program, or an attacker."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.fuzz import texts
from tests.fuzz.dice import Dice

DEPTH = 100_000  # of nesting, where nesting is the attack


def damaged(dice: Dice, data: bytes, head: int | None = None) -> bytes:
    """``data`` with one to three kinds of damage; if ``head`` is given, in the first so many bytes."""
    for _ in range(dice.randint(1, 3)):
        data = _once(dice, data, min(len(data), head or len(data)))
    return data


def _once(dice: Dice, data: bytes, end: int) -> bytes:
    if not data:
        return dice.randbytes(dice.randint(0, 64))
    a = dice.randrange(max(1, end))
    b = min(len(data), a + dice.one(1, 2, 4, 8, 64, 1000))
    match dice.randrange(8):
        case 0:  # bits flip
            out = bytearray(data)
            for _ in range(dice.one(1, 1, 2, 8, 40)):
                out[dice.randrange(max(1, end))] ^= 1 << dice.randrange(8)
            return bytes(out)
        case 1:  # the end is missing
            return data[:a]
        case 2:
            return data[:a] + data[b:]
        case 3:
            return data[:a] + dice.randbytes(b - a) + data[b:]
        case 4:
            return data[:a] + bytes(b - a) + data[b:]
        case 5:
            return data[:a] + b"\xff" * (b - a) + data[b:]
        case 6:
            return data[:a] + data[a:b] * 2 + data[b:]
        case _:
            return data + dice.randbytes(dice.one(1, 100, 5000))


def mutated(dice: Dice, value: Any) -> Any:
    """A copy of the JSON ``value`` with some places changed: other types, missing and unknown keys, extremes."""
    value = copy.deepcopy(value)
    for _ in range(dice.one(1, 1, 1, 2, 3, 6)):
        places = list(_places(value))
        if not places or dice.maybe(0.02):
            return _other(dice, value)
        _change(dice, *dice.choice(places))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in ``value``: the object or list, and the key or number in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change(dice: Dice, parent: Any, key: Any) -> None:
    """Change ``parent[key]`` in place."""
    match dice.randrange(8):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[dice.one(key + "_", key.upper(), "unknown", "", texts.text(dice))] = parent[key]
        case 1:
            parent.append(copy.deepcopy(parent[key]))
        case 2 if isinstance(parent[key], (list, dict)):
            parent[key] = type(parent[key])()
        case _:
            parent[key] = _other(dice, parent[key])


def _other(dice: Dice, value: Any) -> Any:
    """Something else in the place of ``value``: often of its type, but extreme."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and dice.maybe(0.6):
        extremes = (0, -1, 1, value + 1, -value, 0.5, 1e-300, 1e300, 1.7e308, 2**31, 2**63, 10**400)
        return dice.choice((*extremes, float("inf"), float("-inf"), float("nan")))
    if isinstance(value, str) and dice.maybe(0.5):
        return texts.text(dice)
    return dice.choice((None, True, False, 0, -1, 3, 0.25, "", "3", "swan", [], {}, [1], [[]], {"a": 1}, ["a", 2]))


def as_text(dice: Dice, value: Any) -> bytes:
    """``value`` as a JSON file, now and then one that is badly written."""
    text = json.dumps(value, indent=dice.one(None, 2), ensure_ascii=dice.maybe())
    data = text.encode("utf-8", "surrogatepass")
    if dice.maybe(0.8):
        return data
    nested = "[" * DEPTH + "]" * DEPTH
    match dice.randrange(10):
        case 0:
            return nested.encode()
        case 1:
            return _with(text, dice, nested)
        case 2:
            return _with(text, dice, '{"a":' * DEPTH + "1" + "}" * DEPTH)
        case 3:
            return _with(text, dice, dice.choice(("9" * 5000, "1e999", "NaN", "Infinity", "-0", "01", "0x1")))
        case 4:
            return b"\xef\xbb\xbf" + data
        case 5:
            return text.encode("utf-16", "surrogatepass")
        case 6:
            return data + data
        case 7:
            return dice.choice((b"", b" ", b"null", b"[]", b"{}", b"\x00", b"3", b'"run"', b"{'a': 1}"))
        case _:
            return damaged(dice, data)


def _with(text: str, dice: Dice, what: str) -> bytes:
    """``text`` with ``what`` in the place of one of its values."""
    starts = [place + 2 for place in range(len(text)) if text.startswith(": ", place)]
    if not starts:
        return what.encode()
    start = dice.choice(starts)
    end = next((place for place in range(start, len(text)) if text[place] in ",}]"), len(text))
    return (text[:start] + what + text[end:]).encode("utf-8", "surrogatepass")
