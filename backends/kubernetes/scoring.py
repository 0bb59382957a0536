"""The way to a model server that speaks another protocol: Azure ML's scoring on /score, the FPGA services' gRPC."""

from __future__ import annotations

from dataclasses import replace

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.rights import Right, Rights
from backends.kubernetes.discovery import Scoring
from backends.kubernetes.pod import Pod
from backends.kubernetes.reach import Follow, Reach
from backends.kubernetes.ways import PodPorts, through_ports
from tritonctl.server.address import Speaks


async def reach_scoring(api: Api, rights: Rights, pod: Pod, scoring: Scoring, selector: str) -> Reach:
    """By port-forward: a proxied path would end in a path of the API server's, and the scorer's own health is at /."""
    forward = f"kubectl -n {pod.namespace} port-forward {pod.name} {scoring.port}"
    if scoring.grpc:
        return Reach(
            no_address=f"speaks TensorFlow Serving's gRPC on port {scoring.port}, not Triton's protocol: {forward}"
        )
    lacking = await rights.lacking((Right("get", "pods", subresource="portforward", namespace=pod.namespace),))
    if lacking:
        return Reach(no_address=f"scores on port {scoring.port}, /score; you may not {lacking[0]}: {lacking[0].advice}")
    ports = PodPorts(pod.namespace, pod.name, scoring.port)
    address = through_ports(api, ports, Follow(api, pod.namespace, pod.name, selector))
    return Reach(replace(address, http=f"http://{pod.name}:{scoring.port}/score", protocol=Speaks.SCORE))
