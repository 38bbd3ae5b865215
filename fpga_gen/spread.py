"""Work on many processes: this machine's, or those of a Dask cluster. Results are kept in a journal
as they come, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Generic, TypeVar

from fpga_gen.cache import program_digest
from fpga_gen.disk import make_folders
from fpga_gen.errors import BuildDirError, FpgaGenError
from fpga_gen_host.decode import decode

ATTEMPTS = 3  # workers that may die over one item before it is given up
CONNECT_SECONDS = 5  # until a scheduler must have answered

ItemT = TypeVar("ItemT")
RecordT = TypeVar("RecordT")


@dataclass(frozen=True)
class Lost:
    """No result: `ATTEMPTS` workers died over the item. reason: by Dask."""

    reason: str


def spread(
    function: Callable[..., Any],
    items: Sequence[ItemT],
    *arguments: Any,
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[ItemT, Any]]:
    """Every item with function(item, *arguments), or with `Lost`, as the results come.

    A worker that dies loses its item to another one.

    Args:
        function: of a module, its result JSON-able.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; its workers need this
            version of fpga-gen and the same paths. None: processes of this machine.

    Raises:
        FpgaGenError: as `check_place`; a worker has another version; or what the function raises.
    """
    check_place(scheduler)
    from dask import config
    from distributed import Client, LocalCluster, as_completed
    from distributed.scheduler import KilledWorker

    settings = {
        "distributed.scheduler.allowed-failures": ATTEMPTS,
        "distributed.worker.daemon": False,  # an import of a model forks
        "distributed.logging.distributed": "critical",  # errors come back as exceptions
    }
    with config.set(settings):
        cluster: LocalCluster | None = None
        try:
            if scheduler is None:
                options: dict[str, Any] = {
                    "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0",
                    "silence_logs": logging.CRITICAL,
                }  # fmt: skip
                with _interrupts_held():
                    cluster = LocalCluster(n_workers=min(workers, len(items)), **options)
            with Client(cluster or scheduler) as client:
                told = (function, program_digest(), *arguments)
                futures = [client.submit(_checked, *told, item=i, pure=False) for i in items]
                by_key = {f.key: item for f, item in zip(futures, items, strict=True)}
                for future in as_completed(futures):
                    try:
                        yield by_key[future.key], future.result()
                    except KilledWorker as error:
                        reason = f"{ATTEMPTS} workers died: {error}"
                        yield by_key[future.key], Lost(reason)
        finally:
            if cluster is not None:
                with _interrupts_held():
                    cluster.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes at the end of the block: Dask leaves processes and tracebacks where it is
    stopped half started. What is started inside never gets it, whose parent ends it."""
    resource_tracker.ensure_running()  # which lets signals through again when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_place(scheduler: str | None) -> None:
    """FpgaGenError if Dask is not installed, or no scheduler answers at that address."""
    try:
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise FpgaGenError(
            f"several processes need the package {error.name!r}: pip install 'fpga-gen[explore]'"
        ) from error
    if scheduler is None:
        return
    try:  # Dask itself would try for half a minute
        socket.create_connection(get_address_host_port(scheduler), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise FpgaGenError(
            f"{scheduler}: no Dask scheduler answers there, give tcp://HOST:8786: {error}"
        ) from error


def _checked(function: Callable[..., Any], program: str, *arguments: Any, item: Any) -> Any:
    """What a worker does."""
    if program_digest() != program:
        raise FpgaGenError(
            f"the worker on {os.uname().nodename} has another fpga-gen: install this version there"
        )
    return function(item, *arguments)


class Journal(Generic[RecordT]):
    """A file of one JSON line for each result. known: records by key; added: how many this run
    wrote.

    record: the dataclass of a line; key: of a record.

    Raises:
        BuildDirError: the folder cannot be written.
    """

    def __init__(self, path: Path, record: type[RecordT], key: Callable[[RecordT], str]) -> None:
        self.path = path
        self.added = 0
        self.known: dict[str, RecordT] = {}
        self._key = key
        try:
            make_folders(path.parent)
            text = path.read_text("utf-8") if path.exists() else ""
        except OSError as error:
            raise BuildDirError(f"{path.parent}: cannot be written: {error.strerror}") from error
        for line in text.splitlines():
            try:
                found = decode(record, json.loads(line))
            except ValueError:  # the last line of a run that was killed
                continue
            self.known[key(found)] = found

    def add(self, record: Any) -> None:
        """Appends a line, durable when it returns."""
        self.known[self._key(record)] = record
        self.added += 1
        line = json.dumps(asdict(record)) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                if stream.tell() and not self._ends_with_a_line():
                    stream.write("\n")
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise BuildDirError(f"{self.path}: cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """The work is done: the file goes."""
        self.path.unlink(missing_ok=True)

    def _ends_with_a_line(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"
