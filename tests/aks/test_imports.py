"""What an AKS backend loads, and when: nothing of Azure's or Kubernetes' before it is watched."""

from __future__ import annotations

import subprocess
import sys

from tests.components import ROOT

HEAVY = ("azure.core", "azure.identity", "azure.ai", "msal", "kr8s", "httpx", "yaml", "backends.kubernetes.client.api")

CODE = """
import sys
from pathlib import Path
from backends.opening import open_backends
from tritonctl.settings import Flags, load
settings = load(Flags(config=Path(sys.argv[1])), {}, Path("/nonexistent"))
(backend,) = open_backends(settings)
assert backend.kind == "aks"
print(*[name for name in sys.modules])
"""


def test_opening_it_imports_nothing_heavy(tmp_path: object) -> None:
    file = f"{tmp_path}/config.toml"
    with open(file, "w", encoding="utf-8") as out:
        out.write('[backends.aks]\nkind = "aks"\nsubscription = "s"\ncredential = "cli"\n')
    done = subprocess.run(
        [sys.executable, "-c", CODE, file], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith(HEAVY)] == []
