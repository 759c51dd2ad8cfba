"""Running an iterator ahead of its consumer, in one background thread."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Prefetcher"]

T = TypeVar("T")

# How long leaving a loop, by Ctrl-C say, waits for the item that the worker has in hand.
_PATIENCE_S = 1.0


class _Channel(Generic[T]):
    """What the two threads share. The worker holds this alone, never the `Prefetcher`: an
    abandoned Prefetcher can then be collected, and its collection stops the worker."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.changed = threading.Condition()
        self.items: deque[T] = deque()
        self.error: BaseException | None = None
        self.finished = False  # set by the worker: nothing more will come
        self.stopped = False  # set by the consumer: nothing more is wanted

    def put(self, item: T) -> bool:
        """Wait for room and append; False when nothing more is wanted."""
        with self.changed:
            while len(self.items) >= self.depth and not self.stopped:
                self.changed.wait()
            if not self.stopped:
                self.items.append(item)
                self.changed.notify_all()
            return not self.stopped


def _produce(source: Iterator[T], channel: _Channel[T]) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            if not channel.put(item):
                break
            del item  # the consumer's alone from here on
    except BaseException as caught:  # whatever it is, it belongs to the consumer
        error = caught
    with channel.changed:
        channel.error, error = error, None
        channel.finished = True
        channel.changed.notify_all()


class Prefetcher(Iterator[T]):
    """Iterator over `source`, which a daemon thread runs up to `depth` items ahead.

    An exception in `source` is raised again by `next`, after the items before it. The thread ends
    when the source does, on `close`, and when the Prefetcher is collected, as after a `break`.
    """

    def __init__(self, source: Iterator[T], depth: int) -> None:
        self._channel: _Channel[T] = _Channel(depth)
        self._thread = threading.Thread(
            target=_produce, args=(source, self._channel), name="fastconv-prefetch", daemon=True
        )
        self._thread.start()

    def __next__(self) -> T:
        channel = self._channel
        with channel.changed:
            while not channel.items and not channel.finished and not channel.stopped:
                channel.changed.wait()
            if channel.items and not channel.stopped:
                item = channel.items.popleft()
                channel.changed.notify_all()
                return item
            error, channel.error = channel.error, None
        self.close()
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # breaks the cycle error -> traceback -> this frame -> error

    def close(self) -> None:
        """Stop the thread, drop what it had ready and wait for its end. Harmless twice."""
        self._stop(None)

    def _stop(self, timeout: float | None) -> None:
        with self._channel.changed:
            self._channel.stopped = True
            self._channel.items.clear()
            self._channel.changed.notify_all()
        # The garbage collector may run this in the worker itself, which cannot wait for itself.
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __del__(self) -> None:
        # While the interpreter ends, daemon threads are frozen: waiting for one would never end.
        if hasattr(self, "_thread") and self._thread.ident is not None and not sys.is_finalizing():
            self._stop(_PATIENCE_S)
