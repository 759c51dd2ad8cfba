"""PyTorch on the CPU at its best: inference mode, both memory formats, every optimiser form."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..cases import Array, Case
from ..networks import build, weights
from .base import Job, Peer, Unsupported
from .fastconv_peer import LEARNING_RATE, STEPS_COMPARED


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
        if case.op == "network" and case.direction == "step":
            return self._train(case, inputs)
        self._mode = self.torch.inference_mode()
        self._mode.__enter__()
        if case.op == "network":
            return self._infer(case, inputs)
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

    def _network(self, case: Case) -> Any:
        torch = self.torch
        functions = SimpleNamespace(**vars(torch.nn.functional))
        functions.cat, functions.flatten = torch.cat, torch.flatten
        name = case.params["network"]
        net = build(name, torch.nn, functions)
        named = list(net.named_parameters())
        with torch.no_grad():
            for (_, parameter), value in zip(named, weights(name, named), strict=True):
                parameter.copy_(torch.from_numpy(value))
        return net

    def _compiled(self, make: Callable[[], Any]) -> Any:
        """What torch.compile makes of it, after a first call; None where it cannot be had here."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return make()
        except Exception as error:
            self.skipped["compiled"] = f"torch.compile: {str(error).splitlines()[0]}"
            return None

    def _infer(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        torch = self.torch
        dtype = torch.bfloat16 if case.dtype == "bfloat16" else torch.float32
        x = torch.from_numpy(inputs["x"]).to(dtype)
        last = x.contiguous(memory_format=torch.channels_last)
        net = self._network(case).eval().to(dtype)
        channels_last = self._network(case).eval().to(dtype).to(memory_format=torch.channels_last)
        nets = {"eager": (net, x, True), "channels_last": (channels_last, last, False)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the faster form
            with torch.inference_mode(False), torch.no_grad():
                traced = torch.jit.trace(self._network(case).eval().to(dtype), x.clone())
                frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        nets["frozen"] = (frozen, x, False)

        def compile() -> Any:
            made = torch.compile(channels_last)
            made(last)
            return made

        compiled = self._compiled(compile)
        if compiled is not None:
            nets["compiled"] = (compiled, last, False)

        def job(variant: str, net: Any, x: Any, like: bool) -> Job:
            return Job(variant, lambda: net(x), lambda: {"output": net(x).float().numpy()}, like)

        return [job(variant, *rest) for variant, rest in nets.items()]

    def _train(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        jobs = [
            self._step(case, inputs, form)
            for form in ("default", "foreach", "fused", "channels_last")
        ]
        compiled = self._compiled(lambda: self._step(case, inputs, "compiled"))
        return jobs if compiled is None else [*jobs, compiled]

    def _step(self, case: Case, inputs: dict[str, Any], form: str) -> Job:
        torch = self.torch
        memory = (
            torch.contiguous_format
            if form in ("default", "foreach", "fused")
            else torch.channels_last
        )
        net = self._network(case).train().to(memory_format=memory)
        extra = {} if form == "default" else {"foreach" if form == "foreach" else "fused": True}
        optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=0.9, **extra)
        loss_of = torch.nn.functional.cross_entropy
        x = torch.from_numpy(inputs["x"]).contiguous(memory_format=memory)
        labels = torch.from_numpy(inputs["labels"])

        low = case.dtype == "bfloat16"

        def forward() -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                return loss_of(net(x), labels)

        if form == "compiled":
            forward = torch.compile(forward)
            forward().backward()  # compiles both passes

        def step() -> float:
            optimizer.zero_grad()
            loss = forward()
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
