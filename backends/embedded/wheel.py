"""Finds the tritonserver in the nvidia-pytriton wheel, says why it cannot run here, and stages it for one run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import py_compile
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RELEASE = "24.10"  # what nvidia-pytriton 0.7.0 carries: tritonserver 2.51.0
IMAGE = f"nvcr.io/nvidia/tritonserver:{RELEASE}-py3"
GLIBC = (2, 35)  # the wheel is tagged manylinux_2_35
# The wheel has stubs up to 3.13, but they need numpy 1, and numpy 1 is not built for 3.13 (see check_numpy).
NEWEST_PYTHON = (3, 12)
# The server gets these and nothing else of our environment: no token of ours has business there.
PASSED_ON = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class CannotRun(Exception):
    """The embedded server cannot run here: `reason` says why, `advice` is what to type instead."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Wheel:
    """Where the parts of the server lie."""

    server: Path
    libraries: Path
    python_backend: Path
    caches: Path
    stub: Path
    libpython: Path


def docker_line(repository: Path, flags: Sequence[str] = ()) -> str:
    """The command that serves `repository` from Triton's own image, and how to open it."""
    run = [
        *("docker", "run", "--rm", "--shm-size=256m", "-p", "127.0.0.1:8000-8002:8000-8002"),
        *("-v", f"{repository}:/models:ro", IMAGE),
        *("tritonserver", "--model-repository=/models", *flags),
    ]
    return shlex.join(run)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/tritonctl`, or `~/.cache/tritonctl`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "tritonctl"


def glibc_version() -> tuple[int, int] | None:
    """(2, 36) and so on, None where the C library is another one (musl)."""
    try:
        name, _, version = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")  # type: ignore[union-attr]
        major, minor = version.split(".")[:2]
    except (AttributeError, ValueError, OSError):
        return None
    return (int(major), int(minor)) if name == "glibc" else None


def find_libpython(version: tuple[int, int]) -> Path | None:
    """libpython3.X.so.1.0 of this interpreter, else the system's or the one `make demo` put into our cache folder."""
    name = f"libpython{version[0]}.{version[1]}.so.1.0"
    config = sysconfig.get_config_vars("LIBDIR", "MULTIARCH")
    libdir, multiarch = (str(value) if value else "" for value in config)
    folders = [
        # First the interpreter's own: its standard library and the libpython then are of one build.
        Path(sys.base_prefix) / "lib",
        *((Path(libdir), Path(libdir) / multiarch) if libdir else ()),
        *(Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder),
        *(Path(folder) for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")),
        cache_folder() / "lib",
    ]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def find(instead: str) -> Wheel:
    """The server of the installed wheel.

    `instead` is the advice for machines that cannot run it at all (see `docker_line`). Takes a few milliseconds: looks
    at files and never imports pytriton or numpy.

    Raises CannotRun.
    """
    if sys.platform != "linux":
        raise CannotRun(f"the embedded server needs Linux, this is {platform.system() or sys.platform}", instead)
    if platform.machine() not in ("x86_64", "AMD64"):
        raise CannotRun(f"the embedded server needs an x86-64 processor, this is {platform.machine()}", instead)
    glibc = glibc_version()
    if glibc is None or glibc < GLIBC:
        have = "has another C library" if glibc is None else f"has {glibc[0]}.{glibc[1]}"
        raise CannotRun(f"the embedded server needs glibc {GLIBC[0]}.{GLIBC[1]} or newer, this machine {have}", instead)
    version = sys.version_info[:2]
    if version > NEWEST_PYTHON:
        newest, this = (".".join(map(str, numbers)) for numbers in (NEWEST_PYTHON, version))
        raise CannotRun(f"the embedded server needs Python {newest} or older, this is {this}", instead)
    spec = importlib.util.find_spec("pytriton")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise CannotRun("the package nvidia-pytriton is not installed", "pip install 'tritonctl[demo]'")
    library = f"libpython{version[0]}.{version[1]}"
    libpython = find_libpython(version)
    if libpython is None:
        raise CannotRun(f"{library}.so.1.0 is not on this machine", f"apt-get install {library}")
    package = Path(places[0])
    root = package / "tritonserver"
    wheel = Wheel(
        server=root / "bin" / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
        python_backend=root / "backends" / "python",
        caches=root / "caches",
        stub=root / "python_backend_stubs" / f"{version[0]}.{version[1]}" / "triton_python_backend_stub",
        libpython=libpython,
    )
    for part in (wheel.server, wheel.libraries, wheel.python_backend, wheel.caches, wheel.stub):
        if not part.exists():
            raise CannotRun(
                f"the installed nvidia-pytriton has no {part}", "pip install --force-reinstall 'nvidia-pytriton==0.7.0'"
            )
    check_numpy()
    return wheel


def check_numpy() -> None:
    """numpy 1.x must be installed.

    The stubs of 24.10 are built with a pybind11 from before numpy 2 and misread its arrays: every answer is "output
    tensor shape does not match size of output" (measured with numpy 2.4 on Python 3.11, 2.5 on 3.12 and 3.13).
    """
    try:
        installed = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        raise CannotRun("numpy is not installed", "pip install 'numpy<2'") from None
    if int(installed.split(".")[0]) >= 2:
        raise CannotRun(
            f"Triton {RELEASE}'s Python backend needs numpy 1, {installed} is installed", "pip install 'numpy<2'"
        )


@dataclass(frozen=True)
class Staged:
    """What a run needs beside its repository: the first words of its command line and its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def stage(wheel: Wheel, folder: Path) -> Staged:
    """Lay the server out in `folder`, which must exist: links into the wheel, since the wheel itself may be read-only.

    The server looks for the stub beside the backend's library, so those two meet in a folder of ours; links will do, as
    the loader takes $ORIGIN from the real file.
    """
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for source in (*wheel.python_backend.iterdir(), wheel.stub):
        if source.is_file():
            (backend / source.name).symlink_to(source)
    libraries = folder / "lib"
    libraries.mkdir()
    (libraries / wheel.libpython.name).symlink_to(wheel.libpython)
    path = (os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath))
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env |= {
        "PATH": ":".join(path),
        "LD_LIBRARY_PATH": f"{libraries}:{wheel.libraries}",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    argv = (
        str(wheel.server),
        f"--backend-directory={folder / 'backends'}",
        f"--cache-directory={wheel.caches}",
    )
    return Staged(argv, env)


def copy_repository(source: Path, target: Path) -> None:
    """A copy that the server and the user may change without touching the installed package.

    The models are compiled in it: else the first start writes a __pycache__ beside model.py, the folder's time changes,
    and the next load reloads the model for nothing. PYTHONDONTWRITEBYTECODE does not help, as the stub's interpreter
    ignores the environment (measured on tritonserver 2.51.0).
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for model in target.glob("*/*/*.py"):
        py_compile.compile(str(model), doraise=False, quiet=2)
