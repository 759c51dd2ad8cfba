"""PyTorch on the CPU at its best: inference mode, both memory formats, every optimiser form."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..cases import Array, Case
from .base import Job, Peer, Unsupported
from .fastconv_peer import STEPS_COMPARED


class TorchPeer(Peer):
    """Ops are timed on contiguous (NCHW) and on channels-last tensors; the one that has the memory
    layout of the case is `like`. Backward passes are the aten operations that autograd calls."""

    name = "torch"
    packages = ("torch",)
    install = "pip install torch --index-url https://download.pytorch.org/whl/cpu"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        self.torch: Any = torch
        self._mode: Any = None

    def versions(self) -> dict[str, str]:
        torch = self.torch
        onednn = torch.backends.mkldnn.is_available()
        return {
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "onednn": str(onednn),
        }

    def prepare(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        # Inference mode lasts until the next case, so that no call pays for entering it.
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
        self._mode = None
        if case.op == "lenet5" and case.direction == "step":
            return [self._step(inputs, form) for form in ("default", "foreach", "fused")]
        self._mode = self.torch.inference_mode()
        self._mode.__enter__()
        if case.op == "lenet5":
            return self._infer(inputs)
        return [self._op(case, inputs, layout) for layout in ("NCHW", "NHWC")]

    def _op(self, case: Case, inputs: dict[str, Any], layout: str) -> Job:
        torch = self.torch
        channels_last = layout == "NHWC"
        memory = torch.channels_last if channels_last else torch.contiguous_format
        a = {k: self._tensor(case, v, memory) for k, v in inputs.items() if v is not None}
        makers = {
            "conv2d": self._conv2d,
            "max_pool2d": self._max_pool,
            "avg_pool2d": self._avg_pool,
            "global_avg_pool2d": self._global_avg_pool,
            "batch_norm": self._batch_norm,
        }
        if case.op not in makers:
            raise Unsupported(f"no operation {case.op}")
        call, result, index = makers[case.op](case, a)

        def outputs() -> dict[str, Array]:
            value = call()
            value = value if index is None else value[index]
            return {result: value.float().numpy()}

        variant = "channels_last" if channels_last else "NCHW"
        return Job(variant, call, outputs, like=layout == case.layout)

    def _tensor(self, case: Case, value: Array, memory: Any) -> Any:
        tensor = self.torch.from_numpy(value.copy())
        if tensor.ndim != 4:  # batch-norm's vectors stay float32, as autocast keeps them
            bias = case.op == "conv2d"
            return tensor.to(getattr(self.torch, case.dtype)) if bias else tensor
        return tensor.to(getattr(self.torch, case.dtype)).contiguous(memory_format=memory)

    # Each of these returns the call, its result's name, and which of the returned values that is.

    def _conv2d(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str, int | None]:
        p, x, w = case.params, a["x"], a["w"]
        stride, padding, groups = p["stride"], p["padding"], p["groups"]
        dilation = p.get("dilation", 1)
        if case.direction == "fprop":
            conv2d, b = self.torch.nn.functional.conv2d, a.get("b")
            return lambda: conv2d(x, w, b, stride, padding, dilation, groups), "output", None
        backward, gy = self.torch.ops.aten.convolution_backward.default, a["gy"]
        geometry = ([stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups)
        if case.direction == "dgrad":
            mask = [True, False, False]
            return lambda: backward(gy, x, w, None, *geometry, mask), "input", 0
        mask = [False, True, False]
        return lambda: backward(gy, x, w, None, *geometry, mask), "weight", 1

    def _max_pool(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str, int | None]:
        torch, p, x = self.torch, case.params, a["x"]
        k, s, pad = p["kernel"], p["stride"], p["padding"]
        if case.direction == "forward":
            max_pool2d = torch.nn.functional.max_pool2d
            return lambda: max_pool2d(x, k, s, pad), "output", None
        pair = ([k, k], [s, s], [pad, pad], [1, 1], False)
        _, indices = torch.ops.aten.max_pool2d_with_indices.default(x, *pair)
        backward, gy = torch.ops.aten.max_pool2d_with_indices_backward.default, a["gy"]
        return lambda: backward(gy, x, *pair, indices), "input", None

    def _avg_pool(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str, int | None]:
        torch, p, x = self.torch, case.params, a["x"]
        k, s, pad = p["kernel"], p["stride"], p["padding"]
        if case.direction == "forward":
            avg_pool2d = torch.nn.functional.avg_pool2d
            return lambda: avg_pool2d(x, k, s, pad), "output", None
        backward, gy = torch.ops.aten.avg_pool2d_backward.default, a["gy"]
        pair = ([k, k], [s, s], [pad, pad], False, True, None)
        return lambda: backward(gy, x, *pair), "input", None

    def _global_avg_pool(
        self, case: Case, a: dict[str, Any]
    ) -> tuple[Callable[[], Any], str, int | None]:
        torch, x = self.torch, a["x"]
        if case.direction == "forward":
            pool = torch.nn.functional.adaptive_avg_pool2d
            return lambda: pool(x, 1), "output", None
        # What autograd does: pooling to 1 x 1 is a mean to it.
        gy, shape, area = a["gy"], x.shape, x.shape[2] * x.shape[3]
        return lambda: gy.expand(shape) / area, "input", None

    def _batch_norm(
        self, case: Case, a: dict[str, Any]
    ) -> tuple[Callable[[], Any], str, int | None]:
        torch, x, w, b, mean, var = self.torch, a["x"], a["w"], a["b"], a["mean"], a["var"]
        if case.direction != "backward":
            batch_norm, training = torch.nn.functional.batch_norm, case.direction == "forward"
            return lambda: batch_norm(x, mean, var, w, b, training), "output", None
        aten, gy = torch.ops.aten, a["gy"]
        _, saved_mean, saved_inverse = aten.native_batch_norm.default(
            x, w, b, mean, var, True, 0.1, 1e-5
        )
        backward = aten.native_batch_norm_backward.default
        saved = (mean, var, saved_mean, saved_inverse, True, 1e-5, [True, True, True])
        return lambda: backward(gy, x, w, *saved), "input", 0

    def _lenet5(self, inputs: dict[str, Any]) -> Any:
        torch, nn = self.torch, self.torch.nn
        net = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), inputs["parameters"], strict=True):
                parameter.copy_(torch.from_numpy(value))
        return net

    def _infer(self, inputs: dict[str, Any]) -> list[Job]:
        torch = self.torch
        x = torch.from_numpy(inputs["x"])
        last = x.contiguous(memory_format=torch.channels_last)
        nets = {"eager": (self._lenet5(inputs).eval(), x, True)}
        channels_last = self._lenet5(inputs).eval().to(memory_format=torch.channels_last)
        nets["channels_last"] = (channels_last, last, False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the faster form
            with torch.inference_mode(False), torch.no_grad():
                traced = torch.jit.trace(self._lenet5(inputs).eval(), x.clone())
                frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        nets["frozen"] = (frozen, x, False)

        def job(variant: str, net: Any, x: Any, like: bool) -> Job:
            return Job(variant, lambda: net(x), lambda: {"output": net(x).numpy()}, like)

        return [job(variant, *rest) for variant, rest in nets.items()]

    def _step(self, inputs: dict[str, Any], form: str) -> Job:
        torch = self.torch
        net = self._lenet5(inputs).train()
        extra = {} if form == "default" else {form: True}
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, **extra)
        loss_of = torch.nn.functional.cross_entropy
        x, labels = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["labels"])

        def step() -> float:
            optimizer.zero_grad()
            loss = loss_of(net(x), labels)
            loss.backward()
            optimizer.step()
            return float(loss.item())

        return Job(
            form,
            step,
            lambda: {"losses": np.array([step() for _ in range(STEPS_COMPARED)])},
            like=form == "default",
        )


PEER = TorchPeer
