"""A model's schema and its configuration as text, from a real server's documents and from hostile ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference_models import SUM_CONFIG, write_repository
from tests.servers import Factory, Running
from tritonctl.server.client import ServerClient
from tritonctl.server.modelconfig import InstanceGroup, as_text, ensemble_members, schema
from tritonctl.server.tensors import DATATYPES, TensorSpec

RICH: dict[str, Any] = {
    "name": "rich",
    "platform": "",
    "backend": "onnxruntime",
    "version_policy": {"specific": {"versions": [1, 3]}},
    "max_batch_size": 8,
    "input": [
        {
            "name": "IN",
            "data_type": "TYPE_STRING",
            "format": "FORMAT_NONE",
            "dims": [-1],
            "reshape": {"shape": []},
            "is_shape_tensor": False,
            "optional": True,
        },
        {"name": "SIZE", "data_type": "TYPE_INT32", "format": "FORMAT_NCHW", "dims": [3, -1, -1]},
    ],
    "output": [{"name": "OUT", "data_type": "TYPE_BF16", "dims": [4], "label_filename": "labels.txt"}],
    "batch_input": [{"kind": "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "target_name": ["T"], "data_type": "TYPE_FP32"}],
    "optimization": {
        "priority": "PRIORITY_MAX",
        "cuda": {"graphs": True, "graph_spec": [{"batch_size": 1, "input": {"IN": {"dim": ["1"]}}}]},
        "execution_accelerators": {
            "gpu_execution_accelerator": [{"name": "tensorrt", "parameters": {"precision_mode": "FP16"}}]
        },
        "input_pinned_memory": {"enable": True},
    },
    "dynamic_batching": {
        "preferred_batch_size": [4, 8],
        "max_queue_delay_microseconds": 100,
        "priority_levels": "2",
        "default_queue_policy": {
            "timeout_action": "DELAY",
            "default_timeout_microseconds": 5000,
            "allow_timeout_override": True,
            "max_queue_size": 16,
        },
        "priority_queue_policy": {"1": {"timeout_action": "REJECT", "max_queue_size": 4}},
    },
    "instance_group": [
        {
            "name": "g",
            "kind": "KIND_GPU",
            "count": 2,
            "gpus": [0, 1],
            "rate_limiter": {"resources": [{"name": "R", "count": 1}], "priority": 2},
            "secondary_devices": [{"kind": "KIND_NVDLA", "device_id": 3}],
        }
    ],
    "cc_model_filenames": {"7.5": "a.plan"},
    "metric_tags": {"team": "nlp"},
    "parameters": {"note": {"string_value": 'say "hi"\n\\ \x1b[31m größe 😀'}},
    "model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"IN": {"data_type": "TYPE_STRING", "zero_data": True}}}],
    "response_cache": {"enable": True},
    "model_transaction_policy": {"decoupled": True},
}


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    ensemble = work / "repository" / "both"
    (ensemble / "1").mkdir(parents=True)
    (ensemble / "config.pbtxt").write_text("""
        platform: "ensemble" max_batch_size: 4
        input { name: "A" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "SUM" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step { model_name: "sum" model_version: -1
                 input_map { key: "A" value: "A" } input_map { key: "B" value: "A" }
                 output_map { key: "SUM" value: "mid" } }
          step { model_name: "sum" model_version: -1
                 input_map { key: "A" value: "mid" } input_map { key: "B" value: "mid" }
                 output_map { key: "SUM" value: "SUM" } }
        }""")
    return triton_factory(work / "repository", control_mode="none")


def parsed(text: str) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def pruned(value: Any) -> Any:
    """Without empty messages, but for those that mean something."""
    if isinstance(value, list):
        return [pruned(each) for each in value]
    if not isinstance(value, dict):
        return value
    meant = ("dynamic_batching", "sequence_batching", "ensemble_scheduling", "direct", "oldest", "all")
    items = {key: pruned(each) for key, each in value.items()}
    return {key: each for key, each in items.items() if each != {} or key in meant}


def same_config(text: str, config: dict[str, Any]) -> bool:
    from google.protobuf import json_format
    from tritonclient.grpc import model_config_pb2

    def plain(message: Any) -> Any:
        return pruned(json_format.MessageToDict(message, preserving_proto_field_name=True))

    return bool(plain(parsed(text)) == plain(json_format.ParseDict(config, model_config_pb2.ModelConfig())))


async def test_the_schema_of_real_models(triton: Running) -> None:
    async with ServerClient(triton.address) as client:
        found = schema(await client.model_metadata("sum"), await client.config("sum"))
        echo = schema(await client.model_metadata("echo"), await client.config("echo"))
        tokens = schema(await client.model_metadata("tokens"), await client.config("tokens"))
        both = schema(await client.model_metadata("both"), await client.config("both"))
    assert (found.name, found.versions, found.backend, found.max_batch_size) == ("sum", ("1",), "python", 4)
    assert found.inputs == (
        TensorSpec("A", "FP32", (-1, 4), batched=True),
        TensorSpec("B", "FP32", (-1, 4), batched=True),
    )
    assert found.outputs == (TensorSpec("SUM", "FP32", (-1, 4), batched=True, labels="labels.txt"),)
    assert found.instance_groups == (InstanceGroup("cpu", 1),)
    assert found.dynamic_batching is not None
    assert found.dynamic_batching.max_queue_size == 0
    assert (found.decoupled, found.version_policy, found.response_cache) == (False, "latest 1", False)
    assert {each.datatype for each in echo.inputs} == set(DATATYPES)
    assert all(each.optional and not each.batched for each in echo.inputs)
    assert echo.dynamic_batching is None
    assert tokens.decoupled
    assert tokens.outputs[0].datatype == "BYTES"
    assert (both.platform, both.ensemble_members) == ("ensemble", ("sum",))


async def test_real_configurations_as_text_say_the_same(triton: Running) -> None:
    async with ServerClient(triton.address) as client:
        configs = [await client.config(name) for name in ("sum", "echo", "tokens", "both")]
    for config in configs:
        assert same_config(as_text(config), config)
    text = as_text(configs[0])
    assert "dynamic_batching {" in text
    assert "FORMAT_NONE" not in text
    assert "false" not in text
    assert parsed(text).parameters["note"].string_value == parsed(SUM_CONFIG).parameters["note"].string_value


def test_every_kind_of_field_as_text_says_the_same() -> None:
    text = as_text(RICH)
    assert same_config(text, RICH)
    assert "\x1b" not in text
    assert "    data_type: TYPE_STRING" in text.splitlines()
    assert "  preferred_batch_size: [ 4, 8 ]" in text.splitlines()


def test_maps_enums_and_long_numbers_are_all_that_the_protocol_has() -> None:
    from tritonclient.grpc import model_config_pb2

    from tritonctl.server import modelconfig

    maps, enums, longs, seen = set(), set(), set(), set()

    def walk(message: Any) -> None:
        if message.full_name in seen:
            return
        seen.add(message.full_name)
        for field in message.fields:
            if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) and field.name != "key":
                longs.add(field.name)
            if field.enum_type:
                enums.add(field.name)
            if field.message_type:
                if field.message_type.GetOptions().map_entry:
                    maps.add(field.name)
                walk(field.message_type)

    walk(model_config_pb2.ModelConfig.DESCRIPTOR)
    assert maps == modelconfig._MAPS
    assert enums == modelconfig._ENUMS
    assert longs == modelconfig._INT64


def test_the_schema_of_a_configuration_alone() -> None:
    found = schema({}, RICH)
    assert found.inputs[0] == TensorSpec("IN", "BYTES", (-1, -1), optional=True, batched=True)
    assert found.outputs[0] == TensorSpec("OUT", "BF16", (-1, 4), batched=True, labels="labels.txt")
    assert found.instance_groups == (InstanceGroup("gpu", 2, (0, 1)),)
    assert found.dynamic_batching is not None
    assert found.dynamic_batching.preferred_batch_sizes == (4, 8)
    assert (found.dynamic_batching.max_queue_size, found.dynamic_batching.default_timeout_us) == (16, 5000)
    assert (found.decoupled, found.version_policy, found.response_cache) == (True, "specific 1, 3", True)


def test_fields_that_nobody_knows_yet_are_kept() -> None:
    assert as_text({"name": "m", "newer": {"than": [1], "this": "x"}}) == (
        'name: "m"\nnewer {\n  than: [ 1 ]\n  this: "x"\n}'
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*RICH, "versions", "inputs", "outputs", "ensemble_scheduling"]), json_values))
def test_a_hostile_document_breaks_nothing(document: dict[str, Any]) -> None:
    schema(document, document)
    as_text(document)
    ensemble_members(document)


def test_members_are_named_once_in_their_order() -> None:
    steps = [{"model_name": "b"}, {"model_name": "a"}, {"model_name": "b"}]
    assert ensemble_members({"ensemble_scheduling": {"step": steps}}) == ("b", "a")
    assert ensemble_members(RICH) == ()
