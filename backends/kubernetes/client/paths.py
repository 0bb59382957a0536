"""Where things stand below an API server: the path of a resource, and a query behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

Query = Mapping[str, str | int | bool | Sequence[str]]


def resource(group_version: str, plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of a resource: `resource("apps/v1", "deployments", "models", "text", "scale")`."""
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    parts = [root]
    if namespace:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=":"))  # pods/http:NAME:8000/proxy
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


def target_of(path: str, query: Query | None) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        if isinstance(value, str | int):  # a bool is an int too
            pairs.append((name, ("true" if value else "false") if isinstance(value, bool) else str(value)))
        else:
            pairs += [(name, each) for each in value]
    return f"{path}?{urlencode(pairs)}" if pairs else path
