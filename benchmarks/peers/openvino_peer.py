"""OpenVINO's CPU plugin, set for one request at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Array, Case
from ..exchange import onnx_model
from .base import FilePeer, Job


class OpenVinoPeer(FilePeer):
    name = "openvino"
    packages = ("openvino", "onnx")
    install = "pip install openvino onnx"

    def versions(self) -> dict[str, str]:
        import openvino

        return {"openvino": openvino.__version__, "threads": str(self.threads)}

    def infer(self, case: Case, x: Array) -> list[Job]:
        import openvino

        core: Any = openvino.Core()
        model = core.read_model(onnx_model(case.params["network"], x.shape[0]))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if case.dtype == "bfloat16" else "f32",
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def call() -> Any:
            return request.infer({0: x}, share_inputs=True)

        return [Job("latency", call, lambda: {"output": np.array(call()[0], np.float32)})]


PEER = OpenVinoPeer
