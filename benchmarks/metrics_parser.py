"""Time the reading of a metrics page of 500 models against prometheus_client."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
REAL_PAGE = ROOT / "tests" / "data" / "metrics-2.51.0.txt"


def generated_page(models: int) -> str:
    """A page of `models` models in the real page's families and order, each with all rows of one real model.

    Half of them are like `cached` (the cache's families, no request summary), half like `ens` (no cache), and each
    fiftieth is like `batched`, whose `metric_tags` value is full of escapes.
    """
    lines: list[str] = []
    family: list[str] = []  # the real rows of the family at hand
    for line in [*REAL_PAGE.read_text(encoding="utf-8").splitlines(), "# HELP"]:
        if not line.startswith("#"):
            family.append(line)
            continue
        if family and 'model="' in family[0]:
            for number in range(models):
                like = "batched" if number % 50 == 49 else "cached" if number % 2 else "ens"
                for row in family:
                    if f'model="{like}"' in row:
                        head, _, value = row.replace(f'"{like}"', f'"model_{number:04d}"').rpartition(" ")
                        # Values of many lengths, also beyond 2**32; Nan stays what it is.
                        lines.append(f"{head} {value if value == 'Nan' else int(value) * 7919 ** (number % 4)}")
        else:
            lines.extend(family)
        family.clear()
        lines.append(line)
    return "\n".join(lines[:-1]) + "\n"


def seconds(work: Callable[[], object], runs: int) -> float:
    """The median time of `work`."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def figures(runs: int) -> list[Figure]:
    """Parsing, first and again, and the rates of two pages."""
    from prometheus_client.parser import text_string_to_metric_families

    from tritonctl.server.metrics import parse
    from tritonctl.server.rates import Scrape, rates

    text = generated_page(500)
    page = parse(text)
    samples = sum(len(family.samples) for family in page.families.values())
    theirs = seconds(lambda: list(text_string_to_metric_families(text)), runs)
    cold = seconds(lambda: parse(text), runs)
    again = seconds(lambda: parse(text, page), runs)
    of_two = seconds(lambda: rates(Scrape(page, 0.0), Scrape(page, 1.0)), runs)
    what = f"a page of 500 models, {samples} samples, {len(text) / 1e6:.1f} MB, against prometheus_client"
    note = f"{cold * 1e3:.0f} ms against {theirs * 1e3:.0f} ms"
    return [
        Figure("parse", what, "times", (theirs / cold,), 5, at_least=True, note=note),
        Figure("parse", "… each page after the first", "times", (theirs / again,), note=f"{again * 1e3:.0f} ms"),
        Figure("parse", "… rates of two pages", "ms", (of_two * 1e3,)),
    ]
