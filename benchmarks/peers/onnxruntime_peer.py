"""ONNX Runtime's CPU provider with all of its graph optimisations."""

from __future__ import annotations

from typing import Any

from ..cases import Array, Case
from ..exchange import onnx_model
from .base import FilePeer, Job, Unsupported


class OnnxRuntimePeer(FilePeer):
    name = "onnxruntime"
    packages = ("onnxruntime", "onnx")
    install = "pip install onnxruntime onnx"

    def versions(self) -> dict[str, str]:
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__, "threads": str(self.threads)}

    def infer(self, case: Case, x: Array) -> list[Job]:
        import onnxruntime

        if case.dtype != "float32":
            raise Unsupported(f"no {case.dtype} convolution on this provider")
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(case.params["network"], x.shape[0])
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        call = lambda: session.run(None, {"x": x})  # noqa: E731
        return [Job("session", call, lambda: {"output": call()[0]})]


PEER = OnnxRuntimePeer
