"""The command and its workers with a stub in place of the networks: python -m tests.cluster.stub restore ..."""

import sys
import time
from itertools import count
from pathlib import Path

import psutil

from supir_core.cluster import restoring
from supir_core.cluster.pool import Outcome
from supir_core.cluster.worker import Worker
from supir_core.command import cli, weights
from supir_core.command.report import Report
from supir_core.restoration.canvas import Restored, resize
from supir_core.restoration.progress import Progress

CALLS, CALL_SECONDS = 5, 0.04


def stub(picture, settings, *, size, caption, callback):
    """In place of ``restore``: enlarges, in as many calls as networks would be called, and as patiently."""
    for call in range(CALLS):
        callback(Progress("sample", call, CALLS))
        time.sleep(CALL_SECONDS)
    image = resize(picture, size)
    return Restored(image, image)


class StubWorker(Worker):
    """Restores with the stub."""

    def restorer(self):
        return stub


class Writer:
    """Writes empty files."""

    def __init__(self, *_):
        pass

    def ready(self):
        return Outcome([])

    def take(self, job):
        job.result.touch(exist_ok=False)
        return Outcome([])


class Mortal(Writer):
    """Dies at some pictures."""

    def take(self, job):
        if job.source.stem.startswith("deadly"):
            psutil.Process().kill()
        return super().take(job)


def workers_of(process):
    """The workers among the descendants of a process."""
    return [child for child in psutil.Process(process).children(recursive=True) if _is_worker(child)]


def _is_worker(process):
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return title.startswith("ray::") and not any(other in title for other in ("IDLE", "Agent"))


def main(arguments):
    """Run the command; the first argument names the class of the workers, the second a file for the driver's memory."""
    restoring.Worker = globals()[arguments[0]]
    weights.Weights.hashes = {"weights": "0"}
    if arguments[1]:
        _watch(Path(arguments[1]))
    return cli.main(arguments[2:])


def _watch(file):
    """Note the memory of this process at every hundredth picture that is done."""
    advance, done = Report.advance, count(1)

    def noted(report):
        advance(report)
        if next(done) % 100 == 0:
            with file.open("a") as out:
                out.write(f"{psutil.Process().memory_info().rss}\n")

    Report.advance = noted


if __name__ == "__main__":
    from tests.cluster import stub as itself  # its workers import it under this name

    sys.exit(itself.main(sys.argv[1:]))
