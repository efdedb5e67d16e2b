"""What a table cannot say of a JSON object, as a patch on what it can.

Columns hold the fields we know. Unknown keys, keys that were absent rather than null, an object that was there but
empty: all that is the difference between the object as it came and the object its row gives back. `diff` finds it,
`apply` puts it back, and `apply(diff(a, b), a) == b` for any two JSON objects.

A patch is JSON: `{"set": {key: value}, "drop": [key], "in": {key: patch}}`, parts left out when empty.
"""

from typing import Any

Json = dict[str, Any]


def diff(found: Json, wanted: Json) -> Json | None:
    """The patch that turns `found` into `wanted`; None when they are the same."""
    changed: Json = {}
    inside: Json = {}
    for key, value in wanted.items():
        if key in found and _same(found[key], value):
            continue
        if key in found and isinstance(found[key], dict) and isinstance(value, dict):
            inside[key] = diff(found[key], value)
        else:
            changed[key] = value
    dropped = [key for key in found if key not in wanted]
    patch = {"set": changed, "drop": dropped, "in": inside}
    return {part: content for part, content in patch.items() if content} or None


def apply(patch: Json | None, found: Json) -> Json:
    """`found` with the patch on it."""
    if patch is None:
        return found
    dropped = frozenset(patch.get("drop", ()))
    result = {key: value for key, value in found.items() if key not in dropped}
    result |= patch.get("set", {})
    for key, inner in patch.get("in", {}).items():
        result[key] = apply(inner, result[key])
    return result


def _same(found: Any, wanted: Any) -> bool:
    """Equal as JSON: `true` is not 1, at any depth."""
    if type(found) is not type(wanted):
        return False
    if isinstance(found, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in found)
    if isinstance(found, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return found == wanted
