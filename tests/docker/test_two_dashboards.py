"""Two dashboards, each a process of its own, at the same container."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.docker.hands import ask_for, choose
from tests.docker.place import Place
from tests.tui.process import running

REFUSED = ("another switch of it is under way", "is gone", "already in use")


async def test_of_two_who_switch_at_once_one_is_refused_and_the_server_serves(place: Place, tmp_path: Path) -> None:
    name = place.triton("t")
    async with (
        running(home=tmp_path / "one", DOCKER_HOST=place.host) as one,
        running(home=tmp_path / "other", DOCKER_HOST=place.host) as other,
    ):
        both = (one, other)
        for each in both:
            await choose(each, name)
            await each.sees(" ready ")
        await asyncio.gather(ask_for(one, "explicit"), ask_for(other, "poll"))
        for each in both:
            each.type("\t\r")
        for each in both:
            await each.sees("[ Close ]")
        refused = [each for each in both if any(words in " ".join(each.lines) for words in REFUSED)]
        assert len(refused) == 1, [each.text for each in both]
        mode = "poll" if refused[0] is one else "explicit"
        for each in both:
            each.type("\x1b")
            await each.until(lambda each=each: "[ Close ]" not in each.text)  # type: ignore[misc]
            await each.sees(" ready ")
            each.type("\r")
            await each.sees(f"ready   {mode}")
    assert place.names() == {name}
    assert f"--model-control-mode={mode}" in place.inspect(name)["Args"]


async def test_what_one_deletes_is_gone_from_the_page_the_log_and_the_plan_of_the_other(
    place: Place, tmp_path: Path
) -> None:
    name = place.triton("t")
    async with (
        running(home=tmp_path / "one", DOCKER_HOST=place.host) as one,
        running(home=tmp_path / "log", DOCKER_HOST=place.host) as log,
        running(home=tmp_path / "plan", DOCKER_HOST=place.host) as plan,
    ):
        for each in (one, log, plan):
            await choose(each, name)
            await each.sees(" ready ")
        log.type("l")
        await log.sees("Started HTTPService")
        await ask_for(plan, "explicit")
        one.type("\x04")
        await one.sees("[ Cancel ]")
        one.type(f"{name}\t\r")
        await one.sees("[ Close ]")
        await log.sees("the log ends here")
        plan.type("\t\r")
        await plan.sees("[ Close ]", "gone")
        for each in (one, log, plan):
            assert each.child.poll() is None, each.text
    assert place.names() == set()
