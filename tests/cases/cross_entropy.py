"""Cases of cross_entropy: logits' shape, options, class weights, share of ignored labels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    weighted: bool = False
    ignored: float = 0.0  # share of the labels
    label_smoothing: float = 0.0
    ignore_index: int = -100
    scale: float = 1.0

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) + f"-scale{self.scale:g}"
        text += f"-smooth{self.label_smoothing:g}" if self.label_smoothing else ""
        text += f"-ignore{self.ignore_index}" if self.ignored else ""
        return text + ("-weighted" if self.weighted else "")


CASES = [
    Case((10,)),
    Case((1, 1)),
    Case((1, 10)),
    Case((64, 10)),
    Case((64, 10), weighted=True, ignored=0.3, label_smoothing=0.1),
    Case((64, 10), ignored=0.3, ignore_index=3),
    Case((33, 17), label_smoothing=1.0),
    Case((8, 1000), label_smoothing=0.1, scale=30.0),
    Case((3, 2003), weighted=True, scale=1000.0),
    Case((4, 21, 9, 7)),
    Case((4, 21, 9, 7), weighted=True, ignored=0.2, ignore_index=255),
    Case((2, 5, 33), weighted=True, ignored=0.5, label_smoothing=0.2, ignore_index=0),
    Case((2, 3, 2, 3, 2), ignored=0.2),
]
