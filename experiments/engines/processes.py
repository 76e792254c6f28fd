"""Worker processes: of one thread, deaf to Ctrl-C, and not outliving their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection

import torch
from tqdm import tqdm


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes started meanwhile ignore Ctrl-C, which the terminal sends to them as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def prepare_worker() -> None:
    """Prepare a worker process: one thread, and no life without its parent."""
    torch.set_num_threads(1)
    # Its own lock is a semaphore of the system's, which a terminated worker would leave behind.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
