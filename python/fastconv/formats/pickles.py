"""A machine for pickles that builds plain values and runs no code.

Source of the format: the comments of Python's own `pickletools`. Of its operations there are those
of protocols 2 to 5 that checkpoints are made of. Names are looked up in a given list, never imported;
a name that is not listed is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["PickleError", "PickleMachine", "Symbol"]

_MAX_DEPTH = 10_000
_END = 0x2E


class PickleError(ValueError):
    """The pickle is damaged, or holds what is not allowed."""


class Symbol(NamedTuple):
    """A name that the pickle refers to; nothing is behind it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


Builder = Callable[..., Any]


class PickleMachine:
    """Runs one pickle.

    Args:
        data: the bytes; others may follow the pickle.
        builders: the names that may occur, each with the function that stands for calling it, or
            None if it may only be mentioned.
        persistent: turns a persistent id into a value.
        position: where the pickle begins. After `run`, where it ended.

    `run` raises PickleError.
    """

    def __init__(
        self,
        data: bytes,
        builders: Mapping[Symbol, Builder | None],
        persistent: Callable[[Any], Any],
        position: int = 0,
    ) -> None:
        self.position = position
        self._data = data
        self._builders = builders
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle describes."""
        try:
            while True:
                code = self._take(1)[0]
                if code == _END:
                    return self._stack.pop()
                step = _STEPS.get(code)
                if step is None:
                    raise PickleError(f"an operation {bytes([code])!r} that weights do not need")
                step(self)
        except PickleError as error:
            raise PickleError(f"{error} (byte {self.position} of the pickle)") from error
        except (
            *(IndexError, KeyError, TypeError, ValueError, AttributeError),
            *(OverflowError, RecursionError, struct.error),
        ) as error:
            raise PickleError(
                f"a damaged pickle near byte {self.position}: {type(error).__name__}"
            ) from error

    # Reading

    def _take(self, count: int) -> bytes:
        start, end = self.position, self.position + count
        if count < 0 or end > len(self._data):
            raise PickleError(f"ends where {count} more bytes should follow; truncated")
        self.position = end
        return self._data[start:end]

    def _number(self, form: str) -> int:
        (number,) = struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))
        return int(number)

    def _line(self) -> str:
        end = self._data.index(b"\n", self.position)
        return self._take(end + 1 - self.position)[:-1].decode()

    # Steps

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._marked) >= _MAX_DEPTH:
            raise PickleError(f"nested more than {_MAX_DEPTH} deep")
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _symbol(self, module: Any, name: Any) -> None:
        symbol = Symbol(module, name)
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        if symbol not in self._builders:
            raise PickleError(f"refers to {str(symbol)[:200]}, which is not allowed")
        self._push(symbol)

    def _extend_list(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise TypeError
        target.extend(items)

    def _extend_dict(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_hashable(key)] = value

    def _extend_set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise TypeError
        target.update(_hashable(item) for item in items)

    def _reduce(self) -> None:
        function, arguments = self._pop(2)
        if not isinstance(function, Symbol) or type(arguments) is not tuple:
            raise TypeError
        builder = self._builders[function]
        if builder is None:
            raise PickleError(f"calls {function}, which is not allowed")
        self._push(builder(*arguments))

    def _build(self) -> None:
        (state,) = self._pop(1)
        target = self._stack[-1]
        if type(target) is dict:  # the attributes of an OrderedDict, such as _metadata
            return
        take = getattr(target, "take_state", None)
        if take is None:
            raise PickleError(f"gives a state to a {type(target).__name__}, which is not allowed")
        take(state)


def _hashable(key: Any) -> Any:
    """`key`, if it is a plain value: hashing tuples goes as deep as they are nested."""
    if key is not None and not isinstance(key, (str, int, float, bytes)):
        raise PickleError(f"a key that is a {type(key).__name__}, expected a string or a number")
    return key


def _text(form: str) -> Callable[[PickleMachine], None]:
    return lambda m: m._push(m._take(m._number(form)).decode("utf-8", "surrogatepass"))


def _bytes(form: str) -> Callable[[PickleMachine], None]:
    return lambda m: m._push(m._take(m._number(form)))


def _whole(form: str) -> Callable[[PickleMachine], None]:
    return lambda m: m._push(m._number(form))


def _tuple(count: int) -> Callable[[PickleMachine], None]:
    return lambda m: m._push(tuple(m._pop(count)))


_STEPS: dict[int, Callable[[PickleMachine], Any]] = {
    ord(code): step
    for code, step in {
        # protocol and frames
        "\x80": lambda m: m._take(1),
        "\x95": lambda m: m._take(8),
        # values
        "N": lambda m: m._push(None),
        "\x88": lambda m: m._push(True),
        "\x89": lambda m: m._push(False),
        "J": _whole("i"),
        "K": _whole("B"),
        "M": _whole("H"),
        "\x8a": lambda m: m._push(int.from_bytes(m._take(m._number("B")), "little", signed=True)),
        "G": lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
        "X": _text("I"),
        "\x8c": _text("B"),
        "\x8d": _text("Q"),
        "U": _text("B"),  # Python 2's strings
        "T": _text("i"),
        "C": _bytes("B"),
        "B": _bytes("I"),
        "\x8e": _bytes("Q"),
        # containers
        "(": lambda m: m._mark(),
        "}": lambda m: m._push({}),
        "]": lambda m: m._push([]),
        ")": lambda m: m._push(()),
        "\x8f": lambda m: m._push(set()),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "t": lambda m: m._push(tuple(m._since_mark())),
        "s": lambda m: m._extend_dict(m._pop(2)),
        "u": lambda m: m._extend_dict(m._since_mark()),
        "a": lambda m: m._extend_list(m._pop(1)),
        "e": lambda m: m._extend_list(m._since_mark()),
        "\x90": lambda m: m._extend_set(m._since_mark()),
        # the memo
        "q": lambda m: m._remember(m._number("B")),
        "r": lambda m: m._remember(m._number("I")),
        "\x94": lambda m: m._remember(len(m._memo)),
        "h": lambda m: m._push(m._memo[m._number("B")]),
        "j": lambda m: m._push(m._memo[m._number("I")]),
        # names, calls, states
        "c": lambda m: m._symbol(m._line(), m._line()),
        "\x93": lambda m: m._symbol(*m._pop(2)),
        "R": lambda m: m._reduce(),
        "b": lambda m: m._build(),
        "Q": lambda m: m._push(m._persistent(m._pop(1)[0])),
    }.items()
}
