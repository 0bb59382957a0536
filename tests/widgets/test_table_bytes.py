"""A table writes what changed and nothing else."""

import pytest

from tests.widgets.rows import MAKE
from tests.widgets.terminal import differences, terminal


@pytest.mark.parametrize("count", [30, 1000])
def test_equal_rows_write_nothing_and_one_row_little(count: int) -> None:
    with terminal(MAKE) as stage:
        stage.run(f"table.show(columns, many({count}))")
        same = stage.run(f"table.show(columns, many({count}))")
        assert same.written == 0
        one = stage.run(f"r = many({count}); r[5] = row(5, 9); table.show(columns, r)")
        assert 0 < one.written <= 400
        assert not differences(stage, one)
        moved = stage.run("table.action_move(1)")
        assert 0 < moved.written <= 1000
        assert not differences(stage, moved)
        hidden = stage.run("r[-1] = row(len(r) - 1, 9); table.show(columns, r)")
        assert (hidden.written == 0) == (count == 1000)


def test_replay_after_random_steps_shows_what_the_app_believes() -> None:
    with terminal(MAKE) as stage:
        stage.run("dice = random.Random(3); rows = many(200); table.show(columns, rows)")
        step = """
for _ in range(dice.randrange(1, 4)):
    kind = dice.randrange(6)
    if kind == 0: rows[dice.randrange(len(rows))] = row(dice.randrange(10000), 5)
    elif kind == 1: del rows[dice.randrange(len(rows))]
    elif kind == 2: dice.shuffle(rows)
    elif kind == 3: table.action_page(dice.choice((-1, 1)))
    elif kind == 4: table.action_move(dice.randrange(-9, 9))
    else: rows.insert(dice.randrange(len(rows)), row(dice.randrange(10000)))
rows = list({r.key: r for r in rows}.values())
table.show(columns, rows)
"""
        for _ in range(40):
            shown = stage.run(step)
            assert not differences(stage, shown)


def test_lines_of_rows_that_are_gone_become_blank() -> None:
    with terminal(MAKE) as stage:
        stage.run("table.show(columns, many(30))")
        shown = stage.run("table.show(columns, many(3))")
        assert not differences(stage, shown)
        assert not differences(stage, stage.run("table.show(columns, [], empty=['nothing here', 'look there'])"))
        assert stage.seen[1].strip() == "nothing here"
        assert not any(line.strip() for line in stage.seen[3:])
