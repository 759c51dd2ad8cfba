"""ncnn on a model that pnnx has converted and optimised; images one after another, as ncnn knows no batch."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from ..cases import Array, Case
from .base import FilePeer, Job, Unsupported


class NcnnPeer(FilePeer):
    name = "ncnn"
    packages = ("ncnn", "pnnx", "onnx")
    install = "pip install ncnn pnnx onnx"

    def versions(self) -> dict[str, str]:
        return {"ncnn": importlib.metadata.version("ncnn"), "threads": str(self.threads)}

    def infer(self, case: Case, x: Array) -> list[Job]:
        import ncnn

        if case.dtype != "float32":
            raise Unsupported(f"no {case.dtype} arithmetic on x86")
        shape = ",".join(str(s) for s in (1, *x.shape[1:]))
        convert = ["pnnx", "model.onnx", f"inputshape=[{shape}]", "fp16=0"]
        with self.converted(case, convert, batch=1) as folder:
            net: Any = ncnn.Net()
            net.opt.num_threads = self.threads
            net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
            net.opt.use_fp16_packed = net.opt.use_bf16_storage = False
            net.load_param(f"{folder}/model.ncnn.param")
            net.load_model(f"{folder}/model.ncnn.bin")
        images = [np.ascontiguousarray(image) for image in x]
        first, last = net.input_names()[0], net.output_names()[0]

        def one(image: Array) -> Any:
            with net.create_extractor() as extractor:
                extractor.input(first, ncnn.Mat(image))
                return np.array(extractor.extract(last)[1])

        def call() -> Any:
            return [one(image) for image in images]

        return [Job("images", call, lambda: {"output": np.stack(call()).astype(np.float32)})]


PEER = NcnnPeer
