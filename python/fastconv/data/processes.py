"""Worker processes that fetch and augment, batches coming back through shared memory.

Each process shares one block of memory with its parent that has no name (memfd_create(2)), so that
nothing is left behind however either ends. Processes are spawned, not forked: threads and locks of
the parent are not copied. A process ends when its parent's end of the pipe does, kill -9 included; where
a fork of the parent has kept that end open, it ends when it sees that its parent is gone.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process, reduction, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DTypeError, FastconvError
from .batching import Job, Picker

__all__ = ["Processes"]

# How long a process that was told to end, or to die, is waited for.
_PATIENCE_S = 5.0
# How often a process that waits looks for its parent.
_LOOK_S = 2.0


class _Block:
    """A block of memory that both ends map; it grows and never shrinks."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("fastconv-batch")
        self._map: mmap.mmap | None = None
        self._size = 0

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._fd)  # works while a process is being spawned

    def __setstate__(self, duplicate: Any) -> None:
        self._fd, self._map, self._size = duplicate.detach(), None, 0

    def reserve(self, size: int) -> None:
        """Let the block have at least `size` bytes; OSError where memory is short."""
        if size > self._size:
            os.posix_fallocate(self._fd, 0, size)
            self._size = size

    def array(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The block's beginning as an array."""
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size)
        return np.frombuffer(self._map, np.uint8, size).view(dtype).reshape(shape)

    def close(self) -> None:
        fd, self._fd, self._map = self._fd, -1, None
        if fd >= 0:
            os.close(fd)


def _serve(connection: Connection, block: _Block, pickled: bytes) -> None:
    """The life of a worker process."""
    from .._core import set_num_threads

    set_num_threads(1)  # there are other workers
    try:
        pick: Picker = pickle.loads(pickled)
        while True:
            while not connection.poll(_LOOK_S):
                if _orphaned():
                    return
            job: Job = connection.recv()
            try:
                images, rng = pick(job)
                if images.size:
                    block.reserve(images.nbytes)
                    block.array(images.dtype.str, images.shape)[...] = images
                state = None if rng is None else rng.bit_generator.state
                reply: Any = (images.dtype.str, images.shape, state)
            except Exception as error:
                reply = _portable(error)
            connection.send(reply)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done, or gone
    except Exception as error:  # `pickled` does not load here
        connection.send(_portable(error))


def _orphaned() -> bool:
    parent = parent_process()
    return parent is None or parent.pid != os.getppid()


def _portable(error: Exception) -> tuple[bytes, str]:
    """An exception, or its description where it cannot be sent, and where it came from."""
    text = "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:
        pickled = pickle.dumps(FastconvError(f"Loader: {type(error).__name__}: {error}"))
    return pickled, text


class _Worker:
    """The parent's end of one process."""

    def __init__(self, pickled: bytes) -> None:
        context = get_context("spawn")
        self._block = _Block()
        self._joining = threading.Lock()  # two threads that wait for one process lose its status
        self._buried = False
        self._connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, self._block, pickled), name="fastconv-worker", daemon=True
        )
        # Ctrl-C is the parent's to answer. The mask is inherited: there is no moment without it.
        # The tracker would lift it as it starts.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        except BaseException:
            self._connection.close()
            self._block.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def __call__(self, job: Job) -> tuple[npt.NDArray[Any], np.random.Generator | None]:
        """`Picker` over there. The images are overwritten by the next call."""
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have said why
                self._connection.send(job)
            reply = self._connection.recv()
        except (EOFError, OSError):
            raise FastconvError(self._obituary()) from None
        if len(reply) == 2:
            pickled, text = reply
            error = pickle.loads(pickled)
            raise error from FastconvError(f"in a worker process:\n{text}")
        dtype, shape, state = reply
        images = self._block.array(dtype, shape)
        if state is None:
            return images, None
        bits = np.random.PCG64(0)
        bits.state = state
        return images, np.random.Generator(bits)

    def _obituary(self) -> str:
        with self._joining:
            if self._buried:
                return "Loader: closed"
            self.process.join(_PATIENCE_S)
            code = self.process.exitcode
        if code is not None and code < 0:
            by = f"was killed by {_signal_name(-code)}"
            hint = "; memory may have run out" if -code == signal.SIGKILL else ""
        else:
            by = f"ended with exit code {code}"
            hint = (
                '; a script that uses worker="process" must keep what it runs under '
                '`if __name__ == "__main__":`'
            )
        return f"Loader: a worker process (pid {self.process.pid}) {by}{hint}"

    def hang_up(self) -> None:
        """Tell the process to end."""
        self._connection.close()

    def let_go(self) -> None:
        """In a fork: close what was copied of the parent's end."""
        self._connection.close()
        self._block.close()

    def bury(self, patience: float) -> None:
        """Wait for its end; kill it if that takes too long."""
        with self._joining:
            self.process.join(patience)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
            self.process.close()
            self._buried = True
        self._block.close()


class Processes:
    """A team of worker processes, as functions that `Ahead` runs in as many threads."""

    def __init__(self, pick: Picker, count: int) -> None:
        try:
            pickled = pickle.dumps(pick, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise DTypeError(
                'Loader: worker="process" needs a data set and an augment that can be pickled: '
                f"{type(error).__name__}: {error}"
            ) from error
        self.pick = pick
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(_Worker(pickled))
        except BaseException:
            self.close(0.0)
            raise

    @property
    def workers(self) -> Sequence[_Worker]:
        return self._workers

    def fits(self, pick: Picker, count: int) -> bool:
        """Whether these are so many living processes that pick in this way."""
        return (
            os.getpid() == self._owner
            and pick.dataset is self.pick.dataset
            and pick.augment is self.pick.augment
            and (pick.seed, pick.mixes) == (self.pick.seed, self.pick.mixes)
            and len(self._workers) == count
            and all(worker.process.is_alive() for worker in self._workers)
        )

    def close(self, patience: float = _PATIENCE_S) -> None:
        """End the processes. Harmless twice."""
        with self._lock:
            workers, self._workers = self._workers, []
        if os.getpid() != self._owner:  # a fork's copy: the processes are not its children
            for worker in workers:
                worker.let_go()
            return
        for worker in workers:
            if not patience:
                worker.process.kill()
            worker.hang_up()
        for worker in workers:
            worker.bury(patience)

    def __del__(self) -> None:
        if hasattr(self, "_workers") and not sys.is_finalizing():
            self.close(0.0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
