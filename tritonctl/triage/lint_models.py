"""The lint rules for one model: its configuration against itself, its files and the machine it is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tritonctl.triage.lint_ground import ModelFolder, Problem, Severity, Target

Rule = Callable[[ModelFolder, Target], Iterator[Problem]]

# Backend to the file it looks for in a version folder (each backend's own documentation).
_FILES = {
    "python": ("model.py",),
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "pytorch": ("model.pt",),
    "openvino": ("model.xml",),
    "vllm": ("model.json",),
    "tensorflow": ("model.graphdef", "model.savedmodel"),
}
_INFERABLE = ("model.onnx", "model.plan", "model.pt", "model.xml", "model.savedmodel", "model.graphdef", "model.py")
_FORMATS_OF_IMAGES = (1, 2)  # FORMAT_NHWC, FORMAT_NCHW
_KIND_GPU, _KIND_CPU = 1, 2
_MANY_INSTANCES = 16  # of Python: 64 MB of /dev/shm are Docker's default
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def name_differs(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.config is not None and model.config.name and model.config.name != model.name:
        text = f"the model is called {model.config.name!r}, its folder {model.name!r}"
        yield model.problem("L1", Severity.ERROR, text, "name")


def no_backend(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.backend or (model.config is None and model.text):
        return
    files = {each.name for version in model.versions for each in (model.folder / str(version)).iterdir()}
    if not files.intersection(_INFERABLE):
        text = "no backend or platform, and no file that tells it"
        yield model.problem("L3", Severity.ERROR, text)


def versions(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if not model.versions:
        empty = "; an ensemble needs one too, an empty folder" if model.backend == "ensemble" else ""
        yield Problem("L4", Severity.ERROR, str(model.folder), f"no version folder such as 1/{empty}")
    for name in model.ignored:
        yield Problem("L4", Severity.WARNING, str(model.folder / name), "Triton ignores this folder")


def files(model: ModelFolder, _: Target) -> Iterator[Problem]:
    wanted = _FILES.get(model.backend)
    if wanted is None or model.config is None:
        return
    named = str(model.config.default_model_filename)
    others = set(model.config.cc_model_filenames.values())
    for version in _served(model):
        folder = model.folder / str(version)
        names = (named,) if named else wanted
        if not any((folder / name).exists() for name in (*names, *others)):
            hangs = "; with the Python backend the load never ends" if model.backend == "python" else ""
            yield Problem("L5", Severity.ERROR, str(folder), f"{' or '.join(names)} is missing{hangs}")


def _served(model: ModelFolder) -> Sequence[int]:
    """The versions that the policy lets through: the newest one, where it says nothing."""
    policy = model.config.version_policy
    which = policy.WhichOneof("policy_choice")
    if which == "specific":
        return [version for version in policy.specific.versions if version in model.versions]
    if which == "all":
        return model.versions
    newest = policy.latest.num_versions if which == "latest" and policy.latest.num_versions else 1
    return sorted(model.versions)[-newest:]


def version_policy(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.config is None or model.config.version_policy.WhichOneof("policy_choice") != "specific":
        return
    for version in model.config.version_policy.specific.versions:
        if version not in model.versions:
            yield model.problem("L6", Severity.ERROR, f"version {version} is not there", "version_policy")


def batching(model: ModelFolder, target: Target) -> Iterator[Problem]:
    config = model.config
    if config is None or not config.HasField("dynamic_batching"):
        return
    for size in config.dynamic_batching.preferred_batch_size:
        if size > config.max_batch_size > 0:
            text = f"preferred_batch_size {size} is above max_batch_size {config.max_batch_size}"
            yield model.problem("L7", Severity.ERROR, text, "preferred_batch_size")
    if config.max_batch_size == 0:
        text = "dynamic_batching does nothing with max_batch_size 0"
        yield model.problem("L9", Severity.WARNING, text, "dynamic_batching")
    policy = config.dynamic_batching.default_queue_policy
    if policy.allow_timeout_override and not policy.default_timeout_microseconds:
        text = "allow_timeout_override has no effect while default_timeout_microseconds is 0"
        yield model.problem("L27", Severity.WARNING, text, "allow_timeout_override")
    if not policy.max_queue_size and not policy.default_timeout_microseconds:
        text = "the queue has neither max_queue_size nor a timeout: it grows without bound under overload"
        yield model.problem("L21", Severity.NOTE, text, "dynamic_batching")


def tensors(model: ModelFolder, _: Target) -> Iterator[Problem]:
    config = model.config
    if config is None:
        return
    for way, each in [("input", one) for one in config.input] + [("output", one) for one in config.output]:
        dims = list(each.dims)
        if not dims or 0 in dims:
            yield model.problem("L11", Severity.ERROR, f"{way} {each.name!r}: dims {dims}", each.name)
        elif way == "input" and each.format in _FORMATS_OF_IMAGES and len(dims) != 3:
            text = f"input {each.name!r}: an image format needs 3 dims, these are {len(dims)}"
            yield model.problem("L11", Severity.ERROR, text, each.name)
        elif config.max_batch_size > 0 and dims[0] == -1 and len(dims) > 1 and -1 not in dims[1:]:
            most = config.max_batch_size
            text = f"{way} {each.name!r}: dims {dims} begin with -1; max_batch_size {most} adds the batch by itself"
            yield model.problem("L10", Severity.NOTE, text, each.name)
        if way == "output" and each.label_filename and not (model.folder / each.label_filename).is_file():
            yield model.problem("L17", Severity.ERROR, f"{each.label_filename} is not there", each.label_filename)


def instances(model: ModelFolder, target: Target) -> Iterator[Problem]:
    for group in model.config.instance_group if model.config is not None else ():
        if group.kind == _KIND_CPU and group.gpus:
            yield model.problem("L12", Severity.ERROR, "KIND_CPU and gpus exclude each other", "gpus")
        if target.gpus is not None and group.kind == _KIND_GPU and target.gpus == 0:
            yield model.problem("L12", Severity.ERROR, "KIND_GPU, and the target has no GPU", "KIND_GPU")
        for gpu in group.gpus:
            if target.gpus and gpu >= target.gpus:
                text = f"GPU {gpu} is not there: the target has {target.gpus}, numbered from 0"
                yield model.problem("L12", Severity.ERROR, text, "gpus")
        if target.gpu_memory_bytes and group.kind != _KIND_CPU:
            need = max(1, group.count) * max((_size(model.folder / str(v)) for v in _served(model)), default=0)
            if need > target.gpu_memory_bytes:
                text = f"{max(1, group.count)} instances × the model's files are {need / 2**30:.1f} GiB"
                yield model.problem("L13", Severity.WARNING, text, "instance_group")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def response_cache(model: ModelFolder, target: Target) -> Iterator[Problem]:
    config = model.config
    if config is None or not config.response_cache.enable:
        return
    kinds = [
        *(["decoupled"] if config.model_transaction_policy.decoupled else []),
        *(["sequence"] if config.HasField("sequence_batching") else []),
    ]
    if kinds:
        yield model.problem("L14", Severity.ERROR, f"a {kinds[0]} model cannot be cached", "response_cache")
    elif target.cache is not True:
        text = "response_cache works only on a server that was started with --cache-config"
        severity = Severity.WARNING if target.cache is False else Severity.NOTE
        yield model.problem("L14", severity, text, "response_cache")


def decoupled(model: ModelFolder, _: Target) -> Iterator[Problem]:
    config = model.config
    if config is None or not config.model_transaction_policy.decoupled:
        return
    yield model.problem("L15", Severity.NOTE, "plain infer over HTTP answers 501 to it", "decoupled")
    inputs = {each.name for each in config.input}
    outputs = {each.name for each in config.output}
    texts = [each for each in (*config.input, *config.output) if each.data_type == 13]  # TYPE_STRING
    if texts and ("text_input" not in inputs or "text_output" not in outputs):
        text = f"generate by custom sends text_input and reads text_output; here are {sorted(inputs | outputs)}"
        yield model.problem("L26", Severity.NOTE, text, "input")


def warmup(model: ModelFolder, _: Target) -> Iterator[Problem]:
    config = model.config
    for sample in config.model_warmup if config is not None else ():
        wanted = {each.name: each.data_type for each in config.input if not each.optional}
        for missing in sorted(wanted.keys() - sample.inputs.keys()):
            yield model.problem("L18", Severity.ERROR, f"input {missing!r} is missing in model_warmup", "model_warmup")
        for name, given in sample.inputs.items():
            if name not in {each.name for each in config.input}:
                text = f"model_warmup gives {name!r}, which is no input"
                yield model.problem("L18", Severity.ERROR, text, "model_warmup")
            elif name in wanted and given.data_type != wanted[name]:
                text = f"model_warmup gives {name!r} another data type than the input has"
                yield model.problem("L18", Severity.ERROR, text, "model_warmup")


def environment(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.config is None or "EXECUTION_ENV_PATH" not in model.config.parameters:
        return
    path = model.config.parameters["EXECUTION_ENV_PATH"].string_value
    if path.startswith("$$TRITON_MODEL_DIRECTORY"):
        inside = path.removeprefix("$$TRITON_MODEL_DIRECTORY").lstrip("/")
        if not (model.folder / inside).exists():
            yield model.problem("L19", Severity.ERROR, f"{inside} is not in the model's folder", "EXECUTION_ENV_PATH")
    elif not Path(path).exists():
        text = f"{path} is not on this machine; it must be in the container"
        yield model.problem("L19", Severity.WARNING, text, "EXECUTION_ENV_PATH")


def pytorch_names(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.backend != "pytorch" or model.config is None:
        return
    inputs = {each.name for each in model.config.input}
    for each in (*model.config.input, *model.config.output):
        # Inputs may also be the names of forward's own arguments; outputs may not.
        if not re.fullmatch(r".+__\d+", each.name):
            severity = Severity.NOTE if each.name in inputs else Severity.ERROR
            yield model.problem("L20", severity, f"{each.name!r} is not named NAME__INDEX", each.name)


def odd_name(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if not _NAME.fullmatch(model.name):
        severity = Severity.ERROR if re.search(r"\s", model.name) else Severity.WARNING
        yield Problem("L23", severity, str(model.folder), f"the name {model.name!r} has odd characters")


def negative_batch(model: ModelFolder, _: Target) -> Iterator[Problem]:
    if model.config is not None and model.config.max_batch_size < 0:
        yield model.problem("L11", Severity.ERROR, "max_batch_size is negative", "max_batch_size")


def shared_memory(models: Sequence[ModelFolder]) -> Iterator[Problem]:
    """Over the whole repository: all instances share one /dev/shm."""
    python = [model for model in models if model.backend == "python" and model.config is not None]
    count = sum(max(1, sum(max(1, group.count) for group in model.config.instance_group)) for model in python)
    if count >= _MANY_INSTANCES:
        text = f"{count} instances of Python models share /dev/shm, of which Docker gives 64 MB"
        yield Problem("L25", Severity.NOTE, str(python[0].folder.parent), text)


RULES: tuple[Rule, ...] = (
    name_differs,
    no_backend,
    versions,
    files,
    version_policy,
    batching,
    tensors,
    instances,
    response_cache,
    decoupled,
    warmup,
    environment,
    pytorch_names,
    odd_name,
    negative_batch,
)
