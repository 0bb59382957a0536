"""Tables to test with, as text the stage can execute."""

MAKE = """
import random
columns = [Column("name", "NAME", drop=0), Column("state", "STATE", 9)] + [
    Column(f"c{i}", f"COL{i}", 8, numeric=True, drop=i) for i in range(1, 8)] + [Column("note", "NOTE", weight=2)]
STATES = ("ok", "busy", "warn", "failed", "off", "unknown", "stale", "")
def row(i, value=0, state=None):
    state = STATES[i % 8] if state is None else state
    cells = [f"service-{i}", (state or "none", state)] + [str(i * 7 + j + (value if j == 3 else 0)) for j in range(7)]
    return Row(f"k{i}", (*cells, f"the note of {i}"), state)
table = Table()
def many(n, value=0):
    return [row(i, value) for i in range(n)]
widgets = [table]
"""
