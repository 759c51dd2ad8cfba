"""MNN's CPU backend, on a model that its own converter has optimised."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from ..cases import Array, Case
from .base import FilePeer, Job, Unsupported


class MnnPeer(FilePeer):
    name = "mnn"
    packages = ("MNN", "onnx")
    install = "pip install MNN onnx"

    def versions(self) -> dict[str, str]:
        return {"mnn": importlib.metadata.version("MNN"), "threads": str(self.threads)}

    def infer(self, case: Case, x: Array) -> list[Job]:
        if case.dtype != "float32":
            raise Unsupported(f"no {case.dtype} on x86")
        import MNN

        convert = ["mnnconvert", "-f", "ONNX", "--modelFile", "model.onnx"]
        convert += ["--MNNModel", "model.mnn", "--bizCode", "bench"]
        with self.converted(case, convert) as folder:
            settings = {"precision": "high", "backend": "CPU", "numThread": self.threads}
            runtime: Any = MNN.nn.create_runtime_manager((settings,))
            net = MNN.nn.load_module_from_file(
                f"{folder}/model.mnn", ["x"], ["y"], runtime_manager=runtime
            )

        def call() -> Any:
            tensor = MNN.expr.placeholder(list(x.shape), MNN.expr.NCHW)
            tensor.write(x)
            return net.forward([tensor])[0].read()

        return [Job("module", call, lambda: {"output": np.array(call(), np.float32)})]


PEER = MnnPeer
