"""What the kernels suite has to show: a line for each claim, its bar, and whether a run meets it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Record = dict[str, Any]
PEER = "torch"


@dataclass(frozen=True)
class Line:
    """One row of the summary.

    Attributes:
        title: what is measured.
        group: of `kernels.GROUPS`.
        directions: of its cases.
        variants: ours; the fastest of them counts, case by case.
        ratio: the peer's best time over ours must be at least this, in geometric mean.
        worst: and in no case below this.
        share: part of the limit to reach, in geometric mean.
        limit: which one: "fma" (P) or "stream" (B).
        either: each case has to meet `ratio` or `share`; otherwise the means have to meet both.
        only: further condition on a case's record.
    """

    title: str
    group: str
    directions: tuple[str, ...]
    variants: tuple[str, ...] = ("NHWC",)
    ratio: float | None = None
    worst: float | None = None
    share: float | None = None
    limit: str = "fma"
    either: bool = False
    only: Callable[[Record], bool] | None = None

    def bar(self) -> str:
        parts = [] if self.ratio is None else [f">= {self.ratio:g}x"]
        if self.share is not None:
            parts.append(f">= {100 * self.share:.0f} % {_LIMIT[self.limit]}")
        if self.worst is not None:
            parts.append(f"none < {self.worst:g}x")
        return (" or " if self.either else ", ").join(parts)


@dataclass(frozen=True)
class Shown:
    """A line's figures in one run."""

    cases: int
    ratio: float
    worst: float
    share: float
    noisy: int
    met: str


_LIMIT = {"fma": "P", "stream": "B"}
_BOTH, _ALL = ("fprop", "dgrad"), ("fprop", "dgrad", "wgrad")
_EITHER = ("NHWC", "NCHW")


def _is_3x3_s1(record: Record) -> bool:
    return bool(record["params"]["kernel"] == 3 and record["params"]["stride"] == 1)


_DIRECT = ("NHWC highest",)
LINES = (
    Line("3x3 s1, fprop and dgrad, channels-last", "3x3", _BOTH, ratio=2.7, share=2.7),
    Line("3x3 s1, fprop and dgrad, NCHW", "3x3", _BOTH, ("NCHW",), ratio=2.3),
    Line("3x3 s1, wgrad", "3x3", ("wgrad",), ratio=2.0),
    Line('3x3 s1 "highest", fprop and dgrad', "3x3", _BOTH, _DIRECT, share=0.94),
    Line('3x3 s1 "highest", wgrad', "3x3", ("wgrad",), _DIRECT, share=0.88),
    Line("1x1, all directions", "1x1", _ALL, ratio=1.2, share=0.9),
    Line("strided 1x1 and 3x3, fprop", "strided", ("fprop",), share=0.85),
    Line("strided 1x1 and 3x3, dgrad", "strided", ("dgrad",), ratio=2.0),
    Line("first layers, fprop and wgrad", "first", ("fprop", "wgrad"), _EITHER, ratio=2.0),
    Line("LeNet's layers, fprop and wgrad", "lenet", ("fprop", "wgrad"), _EITHER, ratio=3.0),
    Line("depthwise 3x3, all directions", "depthwise", _ALL,
         ratio=1.5, share=0.85, limit="stream", either=True),
    Line("bfloat16, all directions", "bf16", _ALL, ratio=1.3),
    Line("bfloat16 3x3 s1, all directions", "bf16", _ALL, ratio=1.5, only=_is_3x3_s1),
    Line("batch-norm, forward, backward, inference", "batch_norm",
         ("forward", "backward", "inference"), ratio=2.0, share=0.85, limit="stream", either=True),
    Line("pooling, forward and backward", "pooling", ("forward", "backward"),
         ratio=2.0, share=0.85, limit="stream", either=True),
    Line("400 random shapes, all directions", "random", _ALL, ratio=1.5, worst=0.8),
)  # fmt: skip
# On AVX2 against PyTorch held to AVX2.
AVX2_RATIO = 1.2


def lines_for(isa: str | None) -> tuple[Line, ...]:
    if isa != "avx2":
        return LINES
    plain = {"ratio": AVX2_RATIO, "worst": None, "share": None, "either": False}
    return tuple(replace(line, **plain) for line in LINES)  # type: ignore[arg-type]


def pick(line: Line, records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """The measured cases of a line, each with the fastest of the line's variants."""
    found = []
    for record in records:
        if record["group"] != line.group or record["direction"] not in line.directions:
            continue
        if line.only is not None and not line.only(record):
            continue
        of_line = [v for k, v in record.get("ours", {}).items() if k in line.variants]
        measured = [v for v in of_line if PEER in v["ratios"]]
        if measured:
            found.append((record, min(measured, key=lambda v: float(v["ms"]))))
    return found


def judge(line: Line, records: Sequence[Record]) -> Shown | None:
    """None where nothing of the line was measured."""
    picked = pick(line, records)
    if not picked:
        return None
    ratios = [v["ratios"][PEER] for _, v in picked]
    shares = [v[f"of_{line.limit}"] for _, v in picked]
    ratio, share = geomean(ratios), geomean(shares)
    if line.either:
        good = sum(
            r >= (line.ratio or math.inf) or s >= (line.share or math.inf)
            for r, s in zip(ratios, shares, strict=True)
        )
        met = "yes" if good == len(picked) else f"{good} of {len(picked)}"
    else:
        ok = ratio >= (line.ratio or 0.0) and share >= (line.share or 0.0)
        met = "yes" if ok and min(ratios) >= (line.worst or 0.0) else "no"
    noisy = sum(bool(record["noisy"]) for record, _ in picked)
    return Shown(len(picked), ratio, min(ratios), share, noisy, met)


def geomean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values))


# What whole networks are held to: ratios to the best of all engines, or of PyTorch's settings only.
_ALL_PEERS, _TORCH = "of all", "of torch"
FILE_PEERS = ("mnn", "ncnn", "onnxruntime", "openvino")
Bars = tuple[tuple[float, str], ...]
NETWORKS: dict[str, Bars] = {
    "lenet5.batch32.step": ((7.0, _TORCH),),
    "lenet5.batch128.step": ((6.0, _TORCH),),
    "resnet18_cifar.batch128.step": ((2.3, _TORCH),),
    "resnet50.batch16.step": ((1.8, _TORCH),),
    "resnet50.batch16.step.bf16": ((1.8, _TORCH),),
    "alexnet.batch32.step": ((1.5, _TORCH),),
    "googlenet.batch16.step": ((1.5, _TORCH),),
    "densenet121.batch8.step": ((1.5, _TORCH),),
    "resnet50.batch1.inference": ((1.4, _ALL_PEERS),),
    "resnet50.batch16.inference": ((1.3, _ALL_PEERS),),
    "resnet50.batch16.inference.bf16": ((1.25, _ALL_PEERS),),
    "vgg16.batch1.inference": ((1.3, _ALL_PEERS), (2.8, _TORCH)),
    "vgg16.batch4.inference": ((1.35, _ALL_PEERS), (2.8, _TORCH)),
    **{
        f"{net}.batch{n}.inference": ((1.5, _TORCH),)
        for net in ("alexnet", "googlenet", "densenet121")
        for n in (1, 8)
    },
}


def networks(result: dict[str, Any]) -> str:
    """A row a network: the ratio to each peer at its best, and whether the bars are met. A bar against all
    is not known to be met where an engine was left out or failed."""
    peers = result["peers"]
    head = ["network", "fastconv ms", "share of P", *peers, "bar, best", "met"]
    rows = [head, ["---"] + ["---:"] * (2 + len(peers)) + ["---", "---"]]
    for record in result["cases"]:
        if not record.get("peers"):
            continue
        ratios = {n: e["best"]["ratio"] for n, e in record["peers"].items()}
        share = record["gflops"] / max(record["limits"]["fma"].values())
        cells = [record["name"], f"{record['ours_ms']:.4g}", f"{100 * share:.0f} %"]
        cells += [f"**{ratios[n]:.2f}**" if n in ratios else "" for n in peers]
        bars = NETWORKS.get(record["name"], ())
        cells += [", ".join(f">= {bar:g}x {of}" for bar, of in bars), met(record)]
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) if len(rows) > 2 else ""


def met(record: Record) -> str:
    """Whether a network's ratios reach its bars; empty where it has none."""
    bars = NETWORKS.get(record["name"], ())
    ratios = {n: e["best"]["ratio"] for n, e in record["peers"].items()}
    known = True
    for bar, of in bars:
        wanted = (PEER,) if of == _TORCH else (PEER, *FILE_PEERS)
        if any(ratios[n] < bar for n in wanted if n in ratios):
            return "no"
        problems = {n: record["problems"].get(n, "missing") for n in wanted if n not in ratios}
        known = known and all(p.startswith("unsupported") for p in problems.values())
    return ("yes" if known else "not all ran") if bars else ""


def table(result: dict[str, Any], beside: dict[str, Any] | None = None) -> str:
    """The rows of a run; `beside` is the same suite on several threads, for a column of ratios."""
    head = ["case", "cases", "ratio", "worst", "share of limit"]
    if beside is not None:
        head.append(f"ratio on {beside['threads']} threads")
    head += ["bar", "met"]
    left = {"case", "bar", "met"}
    rows = [head, ["---" if h in left else "---:" for h in head]]
    # Each case once, though two lines may hold it.
    every: dict[str, float] = {}
    skipped: dict[str, None] = {}
    for line in lines_for(result.get("isa")):
        shown = judge(line, result["cases"])
        if shown is None:
            skipped |= dict.fromkeys(_why(line, result["cases"]))
            continue
        every |= {r["name"] + k: v["ratios"][PEER] for r, v in pick(line, result["cases"])
                  for k in line.variants[:1]}  # fmt: skip
        cells = [
            line.title,
            f"{shown.cases}" + (f" ({shown.noisy} noisy)" if shown.noisy else ""),
            f"**{shown.ratio:.2f}**",
            f"{shown.worst:.2f}",
            f"{100 * shown.share:.0f} % {_LIMIT[line.limit]}",
        ]
        if beside is not None:
            second = judge(line, beside["cases"])
            cells.append("" if second is None else f"{second.ratio:.2f}")
        rows.append([*cells, line.bar(), shown.met])
    if len(rows) == 2:
        return "\n".join(skipped)
    if result.get("isa") == "avx2":
        total = list(every.values())
        met = "yes" if geomean(total) >= AVX2_RATIO else "no"
        cells = ["all of them", str(len(total)), f"**{geomean(total):.2f}**", f"{min(total):.2f}"]
        cells += [""] * (len(head) - 6)
        rows.append([*cells, f">= {AVX2_RATIO:g}x", met])
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([text, *skipped]) if skipped else text


def _why(line: Line, records: Sequence[Record]) -> list[str]:
    """Why a line of a group that was run has no figures."""
    reasons: dict[str, None] = {}
    for record in records:
        if record["group"] == line.group and record["direction"] in line.directions:
            told = [v for k, v in record["skipped"].items() if k in line.variants]
            reasons |= dict.fromkeys(told or record["problems"].values())
    return [f"Not measured: {line.title}: {'; '.join(list(reasons)[:2])}."] if reasons else []
