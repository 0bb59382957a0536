"""Writes docs/catalogue.md from the catalogue: python -m tritonctl.triage.document > docs/catalogue.md"""

from __future__ import annotations

from pathlib import Path

from tritonctl.triage.finding import Confidence, Weight, filled
from tritonctl.triage.signatures import Catalogue, Signature, load

_CHAPTERS = {
    "start": "The server does not start",
    "load": "A model does not load",
    "runtime": "Requests fail",
    "docker": "Docker",
    "kubernetes": "Kubernetes and AKS",
    "azure": "Azure Machine Learning",
    "rules": "What several layers tell together",
    "lint": "Rules of `tritonctl lint`",
}
_HEAD = """# What triage knows

Made from `tritonctl/triage/catalogue/*.toml` by `python -m tritonctl.triage.document`; do not edit it here.
`tritonctl triage --explain ID` prints an entry, `tritonctl triage --explain 'TEXT'` those that fit an error text.

## Entries of your own
Any `*.toml` in `$XDG_CONFIG_HOME/tritonctl/catalogue/` is read as well:
```toml
[[signature]]
id = "our-licence"                 # unique
title = "{model} has no licence"   # {service}, {model}, {replica} and the pattern's named groups are filled in
where = ["log", "index"]           # log, index, event, platform, answer
has = "licence server"             # words the text must hold, one of several: a cheap test before the pattern
pattern = '''licence server (?P<host>\\S+) refused'''  # optional
also = "giving up"                 # optional: it counts only where another text about the replica holds this
cause = "The licence server did not answer."
steps = ["ping {host}"]
doc = "https://wiki.example.com/licence"
stage = "models loaded"            # the rung of the ladder
versions = ">=2.40,<2.60"          # optional: the server versions it holds for
weight = "failed"                  # or degraded, consequence, note
confidence = "sure"                # or likely, possible
match = ["licence server lic1 refused"]   # lines that must match, and lines that must not
no_match = ["licence server lic1 answered"]
```
A file or entry that is wrong is named with its line, and the rest works. Your patterns are matched in a process of
their own, which is ended after a second.
"""


def markdown(catalogue: Catalogue) -> str:
    """The whole document."""
    lines = [_HEAD]
    for stem, title in _CHAPTERS.items():
        entries = [each for each in catalogue.signatures if Path(each.file).stem == stem]
        lines += [f"## {title}", ""]
        for entry in entries:
            lines += _entry(entry)
    return "\n".join(lines)


def _entry(entry: Signature) -> list[str]:
    words = [f"stage: {entry.stage}"]
    if entry.weight is not Weight.FAILED:
        words.append(entry.weight.name.lower())
    if entry.confidence is not Confidence.SURE:
        words.append(f"{entry.confidence}")
    if entry.versions:
        words.append(f"Triton {entry.versions}")
    if entry.also:
        words.append("where also: " + " or ".join(f"`{each}`" for each in entry.also))
    lines = [f"### {entry.id}", f"**{_readable(entry.title)}** ({', '.join(words)})", "", _readable(entry.cause), ""]
    lines += [f"- {_readable(step)}" for step in entry.steps]
    lines += [f"- <{entry.doc}>"] if entry.doc else []
    if entry.match:
        sample = entry.match[0].splitlines()[0]
        lines += ["", f"`{sample[:160]}`"]
    return [*lines, ""]


def _readable(text: str) -> str:
    """Placeholders in capitals, and nothing that Markdown would take for its own."""
    return filled(text, {}).replace("<", "\\<").replace("*", "\\*")


if __name__ == "__main__":
    print(markdown(load()), end="")
