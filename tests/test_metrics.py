"""The metrics page is read whole, fast, and whatever stands in it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.metrics_parser import generated_page
from tritonctl.server.metrics import Page, parse

REAL_PAGE = (Path(__file__).parent / "data" / "metrics-2.51.0.txt").read_text(encoding="utf-8")


def flat(page: Page) -> list[tuple[str, str, str, str, tuple[tuple[str, str], ...], str]]:
    """Comparable rows of (family, type, help, sample, labels, value); repr makes NaN equal to itself."""
    return sorted(
        (family.name, family.type, family.help, sample.name, tuple(sorted(sample.labels.items())), repr(sample.value))
        for family in page.families.values()
        for sample in family.samples
    )


def flat_by_prometheus(text: str) -> list[tuple[str, str, str, str, tuple[tuple[str, str], ...], str]]:
    rows = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # It renames counters after OpenMetrics; Triton's do not end so.
            name = sample.name.removesuffix("_total") if family.type == "counter" else sample.name
            labels = tuple(sorted(sample.labels.items()))
            rows.append((family.name, family.type, family.documentation, name, labels, repr(float(sample.value))))
    return sorted(rows)


@pytest.mark.parametrize("text", [REAL_PAGE, generated_page(60)], ids=["real", "generated"])
def test_same_values_as_prometheus_client(text: str) -> None:
    page = parse(text)
    assert flat(page) == flat_by_prometheus(text)
    assert (page.bad_lines, page.truncated) == (0, False)
    assert sum(len(family.samples) for family in page.families.values()) == sum(
        not line.startswith("#") for line in text.splitlines()
    )


def test_at_least_five_times_as_fast_as_prometheus_client() -> None:
    text = generated_page(100)

    def best(work: object) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            work()  # type: ignore[operator]
            times.append(time.process_time() - start)
        return min(times)

    ratios: list[float] = []
    while len(ratios) < 6 and max(ratios, default=0) <= 5:  # the best of several: others use this machine too
        ratios.append(best(lambda: list(text_string_to_metric_families(text))) / best(lambda: parse(text)))
    assert max(ratios) > 5, ratios


def test_real_page_names_what_the_server_counts() -> None:
    page = parse(REAL_PAGE)
    failures = page.families["nv_inference_request_failure"]
    assert failures.type == "counter"
    assert failures.help == "Number of failed inference requests, all batch sizes"
    assert {(s.labels["model"], s.labels["reason"]): s.value for s in failures.samples}["failing", "BACKEND"] == 1
    tags = {s.labels.get("_team") for s in page.samples("nv_inference_count")}
    assert tags == {None, 'nlp "a" {b}, c\\d'}
    summary = page.families["nv_inference_queue_summary_us"]
    assert {s.name for s in summary.samples} == {summary.name, summary.name + "_count", summary.name + "_sum"}
    assert any(math.isnan(s.value) for s in summary.samples)  # Triton writes Nan
    assert page.samples("no_such_family") == ()


def test_second_page_reuses_the_label_sets_of_the_first_and_drops_the_others() -> None:
    first = parse('a{m="1"} 1\na{m="2"} 2\n')
    second = parse('a{m="2"} 3\na{m="3"} 4\n', first)
    assert [(dict(s.labels), s.value) for s in second.samples("a")] == [({"m": "2"}, 3.0), ({"m": "3"}, 4.0)]
    assert second.samples("a")[0].labels is first.samples("a")[1].labels
    assert list(second._label_sets) == ['m="2"}', 'm="3"}']


label_value = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"\n{}=, #\u2028\x85\r'))


@given(st.lists(st.tuples(label_value, label_value), min_size=1, max_size=4))
def test_label_values_survive_escaping(pairs: list[tuple[str, str]]) -> None:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    text = "# TYPE f gauge\n" + "".join(
        f'f{{x="{escaped(x)}",y="{escaped(y)}"}} {n}\n' for n, (x, y) in enumerate(pairs)
    )
    page = parse(text)
    assert [(s.labels["x"], s.labels["y"], s.value) for s in page.samples("f")] == [
        (x, y, float(n)) for n, (x, y) in enumerate(pairs)
    ]
    assert page.bad_lines == 0
    assert flat(page) == flat_by_prometheus(text)


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("f 1", {}, 1.0),
        ("f{} 1", {}, 1.0),
        ('f{x="y"} 1 1700000000123', {"x": "y"}, 1.0),
        ("f 1 -5", {}, 1.0),
        ('  f { x = "y" , z="" , }\t2.5e3\t17 \r', {"x": "y", "z": ""}, 2500.0),
        ('f{x="} 7",y="{"} 1', {"x": "} 7", "y": "{"}, 1.0),
        ('f{x="モデル [red]\x1b[31m"} 0x', None, None),
        ('f{x="モデル [red]\x1b[31m"} +Inf', {"x": "モデル [red]\x1b[31m"}, math.inf),
        ("f -Inf", {}, -math.inf),
        ("f 18446744073709551615", {}, 18446744073709551615.0),
    ],
)
@pytest.mark.parametrize("before", ["", "f 0\n", '# TYPE f gauge\nf{x="y"} 0\nf{x="a",y="b"} 0\n'])
def test_unusual_lines(before: str, line: str, labels: dict[str, str] | None, value: float | None) -> None:
    page = parse(f"{before}{line}\n")
    samples = page.samples("f")[before.count("\nf") + before.startswith("f") :]
    if labels is None:
        assert (page.bad_lines, samples) == (1, ())
    else:
        assert (page.bad_lines, [(dict(s.labels), s.value) for s in samples]) == (0, [(labels, value)])


@pytest.mark.parametrize(
    "line",
    [
        "f",
        "f{ 1",
        "f} 1",
        'f{x="y} 1',
        'f{x="y"',
        'f{x="y"} ',
        'f{x="y"} one',
        'f{x="y"z="w"} 1',
        'f{,x="y"} 1',
        'f{x="y",,z="w"} 1',
        'f{x="y",x="z"} 1',
        'f{x="y"}"z} 1',
        'f{x="y"} 1 2 3',
        'f{x="y\\"} 1',
        "1f 1",
        '{x="y"} 1',
        "\x00\x01\xff",
    ],
)
def test_bad_line_is_counted_and_the_rest_read(line: str) -> None:
    page = parse(f'f{{x="y"}} 0\nf{{x="y",z="w"}} 0\n{line}\nf{{x="y"}} 2\n')
    assert page.bad_lines == 1
    assert [s.value for s in page.samples("f")] == [0, 0, 2]


def test_cut_page_drops_its_last_line_and_says_so() -> None:
    whole = set(flat(parse(REAL_PAGE)))
    for end in range(len(REAL_PAGE) - 400, len(REAL_PAGE)):
        text = REAL_PAGE[:end]
        page = parse(text)
        assert page.truncated == (text[-1] != "\n")  # a cut between two lines cannot be seen
        assert page.bad_lines == 0
        assert set(flat(page)) < whole
        assert len(flat(page)) == sum(not line.startswith("#") for line in text.split("\n")[:-1])


def test_page_that_is_none() -> None:
    assert (parse("").families, parse("").truncated, parse("\n").bad_lines) == ({}, False, 0)
    html = parse("<!DOCTYPE html>\n<html><head>\n<title>502 Bad Gateway</title></head>\n</html>\n")
    assert (html.families, html.bad_lines) == ({}, 4)
    noise = parse(bytes(range(256)).decode("latin-1") * 50)
    assert noise.families == {}
    assert noise.bad_lines > 0


def test_escaped_quote_teaches_no_wrong_shape() -> None:
    page = parse('f{x="a\\"b"} 1\nf{x="1"b 2\n')
    assert ([dict(s.labels) for s in page.samples("f")], page.bad_lines) == ([{"x": 'a"b'}], 1)


def test_counter_named_like_a_part_of_a_later_summary() -> None:
    page = parse("# TYPE s_count counter\ns_count 1\n# TYPE s summary\ns_sum 2\ns_count 3\n")
    assert [s.value for s in page.samples("s_count")] == [1, 3]
    assert [s.value for s in page.samples("s")] == [2]


@given(st.text(st.sampled_from('af{}="\\, \n#1.eNT\t'), max_size=60))
def test_no_text_makes_it_raise(text: str) -> None:
    page = parse(text)
    assert page.truncated == (text != "" and not text.endswith("\n"))


def test_families_without_type_and_families_that_come_twice() -> None:
    page = parse(
        "# a comment\n# EOF\n# TYPE\n# HELP s A \\\\ b\\nc\n# TYPE s summary\n"
        's_count 1\ns_sum 2\ns{quantile="0.5"} 3\nother 4\n# TYPE s_max gauge\ns_max 5\ns_count 6\n'
        '# TYPE h histogram\nh_bucket{le="+Inf"} 7\n# TYPE s_count gauge\ns_count 8\n'
    )
    assert page.bad_lines == 0
    assert {f.name: (f.type, [s.value for s in f.samples]) for f in page.families.values()} == {
        "s": ("summary", [1, 2, 3, 6]),
        "other": ("untyped", [4]),
        "s_max": ("gauge", [5]),
        "h": ("histogram", [7]),
        "s_count": ("gauge", [8]),
    }
    assert page.families["s"].help == "A \\ b\nc"


@pytest.mark.parametrize(
    "text",
    [
        "f" * 5_000_000 + "\n",
        "f{" + "}" * 5_000_000 + "\n",
        "f{" + 'x="y",' * 500_000 + "\n",
        'f{x="' + "\\" * 5_000_000 + "\n",
        "f{" + " " * 5_000_000 + "\n",
        "f" + " \t" * 2_500_000 + "\n",
        'f{x="y"} ' + "1 " * 2_000_000 + "\n",
        "# HELP " * 700_000 + "\n",
        "# TYPE f\n" * 100_000,
        "".join(f"f{n} {n}\n" for n in range(100_000)),
        "".join(f'f{{l{n}="1"}} {n}\n' for n in range(100_000)),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_hostile_pages_take_linear_time(text: str) -> None:
    start = time.process_time()
    parse(text)
    assert time.process_time() - start < 5
