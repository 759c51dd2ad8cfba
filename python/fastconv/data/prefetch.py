"""Working ahead of a consumer in background threads, results in order."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["Ahead"]

Job = TypeVar("Job")
Result = TypeVar("Result")

# How long leaving a loop, by Ctrl-C say, waits for what the threads have in hand.
_PATIENCE_S = 1.0


class _Failure:
    """An exception in a result's place."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Channel(Generic[Job, Result]):
    """What the threads share. The workers hold this alone, never the `Ahead`: an abandoned one
    can then be collected, and its collection stops the workers."""

    def __init__(self, jobs: Iterator[Job], limit: int) -> None:
        self.jobs = jobs
        self.limit = limit  # results begun and not taken yet
        self.changed = threading.Condition()
        self.results: dict[int, Result | _Failure] = {}
        self.begun = self.taken = 0
        self.exhausted = False  # no job will be begun any more
        self.stopped = False  # set by the consumer: nothing more is wanted

    def next_job(self, done: tuple[int, Result] | None = None) -> tuple[int, Job] | None:
        """Hand over a result, wait for room and take the next job; None when there is none, or
        none is wanted."""
        with self.changed:
            if done is not None and not self.stopped:
                self.results[done[0]] = done[1]
                self.changed.notify_all()
            del done  # the consumer's alone from here on
            while not self.stopped and not self.exhausted:
                if self.begun - self.taken < self.limit:
                    break
                self.changed.wait()
            if self.stopped or self.exhausted:
                return None
            try:
                job = next(self.jobs)
            except StopIteration:
                self.exhausted = True
                self.changed.notify_all()
                return None
            except BaseException as error:  # whatever it is, it belongs to the consumer
                self._fail(self.begun, error)
                self.begun += 1
                return None
            self.begun += 1
            return self.begun - 1, job

    def fail(self, number: int, error: BaseException) -> None:
        with self.changed:
            self._fail(number, error)

    def _fail(self, number: int, error: BaseException) -> None:
        self.exhausted = True
        if not self.stopped:
            self.results[number] = _Failure(error)
        self.changed.notify_all()


def _work(function: Callable[[Job], Result], channel: _Channel[Job, Result]) -> None:
    begun = channel.next_job()
    while begun is not None:
        number, job = begun
        try:
            done = [(number, function(job))]
        except BaseException as error:
            channel.fail(number, error)
            return
        begun = channel.next_job(done.pop())


class Ahead(Iterator[Result]):
    """The results of jobs in order, worked out ahead by daemon threads, one for each function.

    So many results wait at most; those that the threads have in hand come on top. An exception in
    a job is raised again by `next`, after the results before it. The threads end when the jobs do,
    on `close`, and when this is collected, as after a `break`.

    Args:
        jobs: one thread at a time takes the next.
        functions: what a thread makes of its jobs, for each thread.
        depth: results that may wait, 0 or more.
        at_end: called once, when the threads have ended or were given up: it is told whether all
            have ended.
    """

    def __init__(
        self,
        jobs: Iterator[Job],
        functions: Sequence[Callable[[Job], Result]],
        depth: int,
        at_end: Callable[[bool], None] | None = None,
    ) -> None:
        self._channel: _Channel[Job, Result] = _Channel(jobs, depth + len(functions))
        self._at_end = at_end
        self._threads = [
            threading.Thread(
                target=_work, args=(function, self._channel), name="fastconv-prefetch", daemon=True
            )
            for function in functions
        ]
        for thread in self._threads:
            thread.start()

    def __next__(self) -> Result:
        channel = self._channel
        with channel.changed:
            while channel.taken not in channel.results and not channel.stopped:
                if channel.exhausted and channel.taken == channel.begun:
                    break
                channel.changed.wait()
            error: BaseException | None = None
            if channel.taken in channel.results:  # `close` has left none
                result = channel.results.pop(channel.taken)
                if not isinstance(result, _Failure):
                    channel.taken += 1
                    channel.changed.notify_all()
                    return result
                error = result.error
                del result
        self.close()
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # breaks the cycle error -> traceback -> this frame -> error

    def close(self) -> None:
        """Stop the threads, drop what was ready and wait for their end. Harmless twice."""
        self._stop(None)

    def _stop(self, timeout: float | None) -> None:
        channel = self._channel
        with channel.changed:
            channel.stopped = True
            channel.results.clear()
            channel.changed.notify_all()
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            # The garbage collector may run this in a worker itself, which cannot wait for itself.
            if thread is not threading.current_thread() and thread.ident is not None:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                thread.join(left)
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end(not any(thread.is_alive() for thread in self._threads))

    def __del__(self) -> None:
        # While the interpreter ends, daemon threads are frozen: waiting for one would never end.
        if hasattr(self, "_threads") and not sys.is_finalizing():
            self._stop(_PATIENCE_S)
