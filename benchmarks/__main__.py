"""Measure every row and print the table: python -m benchmarks [--only ROW] [--quick] [--strict] [-o json]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks import azure, cluster, dashboard, docker, metrics_parser, peers, requests, triage
from benchmarks.figure import Failed, Figure, document, machine, table
from benchmarks.servers import Stage, stage
from benchmarks.terminal import NotSeen

Row = Callable[[Stage, int, bool], list[Figure]]
ROWS: dict[str, Row] = {
    "start": dashboard.first_frame,
    "json": dashboard.services_json,
    "keys": dashboard.keys,
    "keys-1000": dashboard.keys_simulated,
    "idle": dashboard.idle,
    "charts": dashboard.idle_charts,
    "slow-link": dashboard.slow_link,
    "state": dashboard.model_state,
    "docker": docker.rows_of,
    "cluster": cluster.rows_of,
    "azure": azure.rows_of,
}
PARSE, REQUESTS = "parse", "requests"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*ROWS, PARSE, REQUESTS, *triage.ROWS, *peers.PEERS]
    parser.add_argument("--only", action="append", choices=names, metavar="ROW")
    parser.add_argument("--runs", type=int, default=5, help="of each row; the figure is their median (5)")
    parser.add_argument("--quick", action="store_true", help="one short run of each row")
    parser.add_argument("--strict", action="store_true", help="a bar that is missed is exit code 1")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    runs = 1 if arguments.quick else max(1, arguments.runs)
    wanted = arguments.only or names
    before = machine()
    figures: list[Figure] = []
    failed: list[Failed] = []

    def measure(name: str, work: Callable[[], list[Figure]]) -> None:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            figures.extend(work())
        except (NotSeen, OSError) as error:
            failed.append(Failed(name, str(error)))

    rows = {name: row for name, row in ROWS.items() if name in wanted}
    if rows:
        print("starting five servers …", file=sys.stderr, flush=True)
        with stage() as made:
            for name, row in rows.items():
                measure(name, lambda row=row: row(made, runs, arguments.quick))  # type: ignore[misc]
    if PARSE in wanted:
        measure(PARSE, lambda: metrics_parser.figures(runs))
    for name in triage.ROWS:
        if name in wanted:
            measure(name, lambda name=name: triage.figures(name, runs))  # type: ignore[misc]
    if REQUESTS in wanted:
        measure(REQUESTS, lambda: requests.figures(runs, arguments.quick))
    absent = [name for name in peers.PEERS if name in wanted and not peers.path_of(name)]
    if REQUESTS in wanted and requests.path_of_perf_analyzer() is None:
        absent.append(requests.PERF_ANALYZER)
    for name in peers.PEERS:
        if name in wanted and name not in absent:
            measure(name, lambda name=name: peers.figures(name, runs, arguments.quick))  # type: ignore[misc]
    if arguments.output == "json":
        print(document(before, figures, failed))
    else:
        print(f"{before}; {'one short run each' if arguments.quick else f'medians of {runs}'}\n")
        print(table(figures))
        if absent:
            print(f"not on PATH, so not compared: {', '.join(absent)}")
        for each in failed:
            print(f"{each.row} could not be measured: {each.why}", file=sys.stderr)
    missed = any(each.passed is False for each in figures)
    return 1 if failed or (arguments.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
