"""Our side: the public functions, and for backward passes the closure that the tape calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..cases import Array, Case, to_layout
from ..networks import from_zoo, weights
from .base import Job, Peer, Unsupported

STEPS_COMPARED = 3
LEARNING_RATE = 0.001


class FastconvPeer(Peer):
    """fastconv on NumPy arrays, once for each variant that the case asks for."""

    name = "fastconv"
    packages = ("fastconv",)
    install = 'pip install "."'

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import fastconv as fc

        fc.set_num_threads(threads)
        self.fc: Any = fc

    def versions(self) -> dict[str, str]:
        core = self.fc._core
        found = {
            "fastconv": self.fc.__version__,
            "isa": core.isa(),
            "compiler": core.compiler,
            "numpy": np.__version__,
        }
        scale = core.conv2d_cost_scale()
        if any(factor != 1 for factor in scale.values()):
            found["tuning"] = str(scale)
        return found

    def limits(self, footprint: int, seconds: float) -> dict[str, float]:
        core = self.fc._core
        fma = core.fma_peak(seconds, self.threads)
        stream = core.stream_bandwidth(footprint, seconds, self.threads)
        self.fc.empty_cache()
        found = {"fma": fma, "stream": stream}
        return found | {"round_trip": core.line_round_trip()} if self.threads > 1 else found

    def prepare(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        makers: dict[str, Callable[[Case, dict[str, Any]], tuple[Callable[[], Any], str]]] = {
            "conv2d": self._conv2d,
            "max_pool2d": self._pool,
            "avg_pool2d": self._pool,
            "global_avg_pool2d": self._pool,
            "batch_norm": self._batch_norm,
        }
        if case.op == "network":
            return self._network(case, inputs)
        if case.op not in makers:
            raise Unsupported(f"no operation {case.op}")
        inputs = {k: self._typed(case, k, v) for k, v in inputs.items()}
        jobs: list[Job] = []
        for variant in case.variants or (case.layout,):
            try:
                jobs.append(self._variant(case, inputs, variant, makers[case.op]))
            except Unsupported as error:
                self.skipped[variant] = str(error)
        if not jobs:
            raise Unsupported("; ".join(dict.fromkeys(self.skipped.values())))
        return jobs

    def _variant(
        self,
        case: Case,
        inputs: dict[str, Any],
        variant: str,
        make: Callable[[Case, dict[str, Any]], tuple[Callable[[], Any], str]],
    ) -> Job:
        layout, _, precision = variant.partition(" ")
        laid_out = {
            k: to_layout(layout, v) if getattr(v, "ndim", 0) == 4 and k != "w" else v
            for k, v in inputs.items()
        }
        enter = self._precision(precision or "high", asked=bool(precision))
        call, result = make(replace(case, layout=layout), laid_out)
        if case.dtype != "float32":
            try:
                call()
            except self.fc.DTypeError as error:
                raise Unsupported(f"no {case.dtype}: {error}") from error

        def outputs() -> dict[str, Array]:
            value = call()
            first = value[0] if isinstance(value, (tuple, list)) else value
            if layout == "NHWC" and result != "weight":
                first = first.transpose(0, 3, 1, 2)
            return {result: first}

        return Job(variant, call, outputs, like=layout == case.layout, enter=enter)

    def _precision(self, precision: str, asked: bool) -> Callable[[], Any] | None:
        """Sets the precision; None where there is no such setting and none was asked for."""
        set_precision = getattr(self.fc, "set_precision", None)
        if set_precision is not None:
            return lambda: set_precision(precision)
        if asked:
            raise Unsupported("this version has no set_precision")
        return None

    def _typed(self, case: Case, name: str, value: Any) -> Any:
        """The array in the element type of the case; batch-norm's vectors stay float32."""
        if case.dtype == "float32" or getattr(value, "ndim", 0) != 4:
            return value
        try:
            import ml_dtypes
        except ImportError as error:
            raise Unsupported(f"{case.dtype} arrays need ml_dtypes: {error}") from error
        return value.astype(getattr(ml_dtypes, case.dtype))

    def _conv2d(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str]:
        F = self.fc.functional
        p, x, w, layout = case.params, a["x"], a["w"], case.layout
        geometry = {k: p[k] for k in ("stride", "padding", "dilation", "groups") if k in p}
        if case.direction == "fprop":
            b = a["b"]
            return lambda: F.conv2d(x, w, b, layout=layout, **geometry), "output"
        gy = a["gy"]
        if case.direction == "dgrad":
            size = x.shape
            return lambda: F.conv2d_input(size, w, gy, layout=layout, **geometry), "input"
        size = w.shape
        return lambda: F.conv2d_weight(x, size, gy, layout=layout, **geometry), "weight"

    def _pool(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str]:
        F, p = self.fc.functional, case.params
        arguments: tuple[Any, ...]
        if case.op == "global_avg_pool2d":
            function, arguments = F.adaptive_avg_pool2d, (1,)
        else:
            function = getattr(F, case.op)
            arguments = (p["kernel"], p["stride"], p["padding"])
        if case.direction == "forward":
            x = a["x"]
            return lambda: function(x, *arguments, layout=case.layout), "output"
        x = self.fc.tensor(a["x"], requires_grad=True)
        return self._backward(function(x, *arguments, layout=case.layout), a["gy"]), "input"

    def _batch_norm(self, case: Case, a: dict[str, Any]) -> tuple[Callable[[], Any], str]:
        F, layout = self.fc.functional, case.layout
        training = case.direction != "inference"
        mean, var = a["mean"], a["var"]
        if case.direction != "backward":
            x, w, b = a["x"], a["w"], a["b"]
            return (
                lambda: F.batch_norm(x, mean, var, w, b, training=training, layout=layout),
                "output",
            )
        x, w, b = (self.fc.tensor(a[k], requires_grad=True) for k in ("x", "w", "b"))
        y = F.batch_norm(x, mean, var, w, b, training=True, layout=layout)
        return self._backward(y, a["gy"]), "input"

    def _backward(self, y: Any, gy: Array) -> Callable[[], Any]:
        """What the tape does when it reaches the operation that made `y`."""
        node = y._node
        return lambda: node.run(gy, True)

    def _network(self, case: Case, a: dict[str, Any]) -> list[Job]:
        """A program, and the same function by function."""
        fc = self.fc
        name, x, labels = case.params["network"], a["x"], a["labels"]

        def made() -> Any:
            net = from_zoo(name, fc.models)
            named = list(net.named_parameters())
            for (_, p), value in zip(named, weights(name, named), strict=True):
                p.numpy()[...] = value
            return net

        if case.direction == "inference":
            net = made().eval()
            narrow = "bfloat16" if case.dtype == "bfloat16" else None
            program = fc.compile(net, x, dtype=narrow)
            jobs = [Job("program", lambda: program(x), lambda: {"output": program(x)})]
            if narrow is None:

                def infer() -> Any:
                    with fc.no_grad():
                        return net(x)

                jobs.append(Job("eager", infer, lambda: {"output": np.asarray(infer())}))
            return jobs

        def trainer(compiled: bool) -> Any:
            net = made()
            optimizer = fc.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=0.9)
            cross_entropy = fc.functional.cross_entropy
            return fc.train.Trainer(
                net, cross_entropy, optimizer, dtype=case.dtype, compile=compiled
            )

        def job(variant: str, trainer: Any) -> Job:
            step = lambda: trainer.step(x, labels)  # noqa: E731
            losses = lambda: {"losses": np.array([step() for _ in range(STEPS_COMPARED)])}  # noqa: E731
            return Job(variant, step, losses)

        return [job("program", trainer(True)), job("eager", trainer(False))]


PEER = FastconvPeer
