"""What can go along when a container is deleted: its volumes and its image, where nobody else uses them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from backends.docker.container import Container, listing, mapping, text
from backends.docker.engine import Engine
from tritonctl.errors import NotFound
from tritonctl.plan import Choice

_ANONYMOUS = 64  # characters of the name that the engine gives to a volume without one
_SHOWN = 3
_KINDS = {"volumes": "volume:", "image": "image:"}


@dataclass(frozen=True, slots=True)
class Belonging:
    """`call` and `path` remove it; `loss` is what that costs."""

    choice: Choice
    call: str
    path: str
    loss: str


async def of(engine: Engine, owners: Sequence[Container]) -> list[Belonging]:
    """What only these containers use. The engine refuses to remove what another one uses, also one that is stopped."""
    mine = {each.id for each in owners}
    found = []
    targets: dict[str, str] = {}
    for each in owners:
        for mount in listing(each.document, "Mounts"):
            if isinstance(mount, dict) and mount.get("Type") == "volume" and text(mount, "Name"):
                targets.setdefault(text(mount, "Name"), text(mount, "Destination"))
    for name, target in sorted(targets.items(), key=lambda each: each[1]):  # the engine keeps no order
        if not await users(engine, {"volume": [name]}, mine):
            found.append(await _volume(engine, name, target))
    for image_id, name in {each.image_id: each.image for each in owners}.items():
        if not await users(engine, {"ancestor": [image_id]}, mine) and (image := await _image(engine, image_id, name)):
            found.append(image)
    return found


async def shared_images(engine: Engine, owners: Sequence[Container]) -> list[str]:
    """Why an image cannot go along: who else was made from it."""
    mine = {each.id for each in owners}
    words = []
    for image_id, name in {each.image_id: each.image for each in owners}.items():
        if others := await users(engine, {"ancestor": [image_id]}, mine):
            words.append(f"the image {name} stays: {using(others)} it")
    return words


def using(names: Sequence[str]) -> str:
    """`a uses`, `a, b use`: of many the first ones, for a plan is read on 24 lines."""
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shown}{more} {'uses' if len(names) == 1 else 'use'}"


def spelled_out(offered: Sequence[Belonging], options: Collection[str]) -> list[str]:
    """The options with `volumes` and `image` as the ids of all of their kind; where there is none of it, as `none`."""
    ids: list[str] = []
    for option in options:
        prefix = _KINDS.get(option)
        ids += [option] if prefix is None else [each.choice.id for each in offered if each.choice.id.startswith(prefix)]
    return ids or (["none"] if options else [])


def volume_id(name: str) -> str:
    return f"volume:{name[:12] if len(name) == _ANONYMOUS else name}"


async def users(engine: Engine, filters: dict[str, list[str]], mine: Collection[str]) -> list[str]:
    """The names of the other containers that this filter of the engine finds."""
    return [name_of(each) for each in await containers(engine, filters) if text(each, "Id") not in mine]


async def containers(engine: Engine, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Entries of `docker ps -a`."""
    found = await engine.get("/containers/json", {"all": True, "filters": json.dumps(filters)})
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def name_of(entry: dict[str, Any]) -> str:
    return str((listing(entry, "Names") or [text(entry, "Id")[:12]])[0]).lstrip("/")


async def _volume(engine: Engine, name: str, target: str) -> Belonging:
    words = ["no other container uses it"]
    try:
        project = mapping(await engine.get(f"/volumes/{quote(name)}"), "Labels").get("com.docker.compose.project")
    except NotFound:
        project = None
    if project:
        words.append(f"of the compose project {project}")
    shown = f"unnamed volume {name[:12]}" if len(name) == _ANONYMOUS else f"volume {name}"
    return Belonging(
        Choice(volume_id(name), f"{shown} at {target}", why=", ".join(words)),
        f"docker volume rm {name}",
        f"/volumes/{quote(name)}",
        f"the {shown} and all that is in it is gone for good",
    )


async def _image(engine: Engine, image_id: str, name: str) -> Belonging | None:
    """By its name, which leaves the other names of it; by its id where its name means another image by now."""
    try:
        found = await engine.get(f"/images/{image_id}/json")
    except NotFound:
        return None
    tags = [str(each) for each in listing(found, "RepoTags")]
    size = found.get("Size")
    words = ["no other container uses it"]
    if isinstance(size, int):
        words.append(f"{size / 1e9:.1f} GB")
    named = name if name in tags or (":" not in name.rpartition("/")[2] and f"{name}:latest" in tags) else image_id
    if others := [each for each in tags if each not in (named, f"{named}:latest")]:
        words.append(f"stays as {', '.join(others)}")
    return Belonging(
        Choice(f"image:{name}", f"image {name}", why=", ".join(words)),
        f"docker rmi {named}",
        f"/images/{quote(named, safe='/:@')}",
        f"the image {name} must be pulled or built again",
    )
