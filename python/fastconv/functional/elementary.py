"""Elementary functions of each element by itself. Any shape; float32, float64 or bfloat16."""

from __future__ import annotations

from .._arrays import ArrayLike
from .activation import apply


def neg(input: ArrayLike) -> ArrayLike:
    """-x.

    Raises:
        DTypeError: the input is not float32, float64 or bfloat16; so for all functions here.
    """
    return apply("neg", "neg", input, True)


def abs(input: ArrayLike) -> ArrayLike:
    """|x|; the derivative at 0 is 0."""
    return apply("abs", "abs", input, True)


def exp(input: ArrayLike) -> ArrayLike:
    """e^x."""
    return apply("exp", "exp", input, False)


def log(input: ArrayLike) -> ArrayLike:
    """The natural logarithm: -infinity at 0 (denormal numbers count as 0), NaN below."""
    return apply("log", "log", input, True)


def sqrt(input: ArrayLike) -> ArrayLike:
    """The square root, NaN below 0."""
    return apply("sqrt", "sqrt", input, False)


def reciprocal(input: ArrayLike) -> ArrayLike:
    """1 / x."""
    return apply("reciprocal", "reciprocal", input, False)


def erf(input: ArrayLike) -> ArrayLike:
    """2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    return apply("erf", "erf", input, True)


def sign(input: ArrayLike) -> ArrayLike:
    """1, 0 or -1 by the sign of x; NaN stays NaN. The derivative is 0."""
    return apply("sign", "sign", input, True)


def floor(input: ArrayLike) -> ArrayLike:
    """The largest whole number that is not greater. The derivative is 0."""
    return apply("floor", "floor", input, True)


def ceil(input: ArrayLike) -> ArrayLike:
    """The smallest whole number that is not less. The derivative is 0."""
    return apply("ceil", "ceil", input, True)


def round(input: ArrayLike) -> ArrayLike:
    """The nearest whole number, halves to the even one. The derivative is 0."""
    return apply("round", "round", input, True)
