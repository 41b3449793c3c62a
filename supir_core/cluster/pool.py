"""Workers on a Ray cluster, each with one thing in hand; what a dead one had in hand is done by another."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..command.plan import Job
from ..command.recording import replay
from ..command.report import Report
from .connection import Share, import_ray

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""How often something is begun whose worker dies."""

PATIENCE = 60.0
"""Seconds without news after which it is said that no worker has started."""

STOP_SECONDS = 60.0
"""How long a worker may take to stop in good order: as long as a network call."""


class Outcome(NamedTuple):
    """What a worker gives back.

    Attributes:
        events: what it has to tell, see ``Recording``.
        finished: whether nothing is left to do, as there is where another run has it in hand.
        value: what was made, if that is not a file.
        seconds: that it took.
        peak: the most memory that the worker has used so far, in bytes: of its GPU, else of its process.
    """

    events: list[Any]
    finished: bool = True
    value: Any = None
    seconds: float = 0.0
    peak: int = 0

    def says(self, state: str) -> bool:
        """Whether a picture is told of in this state."""
        return any(event.method == "picture" and event.arguments[2] == state for event in self.events)


class Done(NamedTuple):
    """A picture, by which worker it was done, and what came of it: nothing, where too many workers died at it."""

    job: Job
    worker: str
    outcome: Outcome | None

    @property
    def value(self) -> Any:
        """What was made, if that is not a file, and if anything was."""
        return self.outcome and self.outcome.value

    def tell(self, report: Report) -> None:
        """Tell what the worker told, or that the picture was given up."""
        if self.outcome is not None:
            replay(self.outcome.events, report)
        else:
            reason = f"{MOST_DEATHS} workers died at it, the last one was {self.worker}; their memory may be full"
            report.failed(self.job.source, self.job.result, reason)


class Pool:
    """Workers that wait for things to do; to enter with ``with``.

    Ray starts a worker that died again, elsewhere if its node is gone. Workers for which the cluster has no room yet join
    in when it has.

    Args:
        worker: class with methods ``ready()``, ``stop()``, and those that ``hand_out`` names.
        arguments: what it is made with.
        share: how many, and what each takes of the cluster.
        name: what the workers are called, with a number each.
    """

    def __init__(self, worker: type, arguments: Sequence[Any], share: Share, name: str):
        self._ray = import_ray()
        actor = self._ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=-1, max_concurrency=2)(worker)
        names = [f"{name}-{number}" for number in range(1, share.workers + 1)]
        self._actors = {name: actor.options(name=name).remote(*arguments) for name in names}
        self._busy: dict[Any, tuple[str, Job | None]] = {}
        self._idle: deque[str] = deque()
        for name in names:
            self._greet(name)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the workers; where something is in hand, as after an interrupt, in good order if they can."""
        at_work = self._in_hand()
        if at_work:
            for actor in self._actors.values():
                actor.stop.remote()
            self._ray.wait(at_work, num_returns=len(at_work), timeout=STOP_SECONDS)
        for actor in self._actors.values():
            self._ray.kill(actor)

    def hand_out(self, jobs: Iterable[Job], method: str) -> Iterator[Done]:
        """Have a method called with each of the jobs, one after the other by whoever is free.

        Args:
            jobs: handed out in this order.
            method: of the worker; gives an ``Outcome``. What is not finished is handed out again later.

        Raises:
            RuntimeError: no worker can be started.
            Exception: what the method raises.
        """
        queue, deaths = deque(jobs), Counter[Job]()
        while queue or self._in_hand():
            while queue and self._idle:
                self._hand(self._idle.popleft(), method, queue.popleft())
            name, job, outcome = self._next()
            if job is None:
                continue
            if outcome is not None:
                if not outcome.finished:
                    queue.append(job)
                yield Done(job, name, outcome)
                continue
            deaths[job] += 1
            if deaths[job] < MOST_DEATHS:
                queue.append(job)  # last, as whatever made it die may be over by then
            else:
                yield Done(job, name, None)

    def _in_hand(self) -> list[Any]:
        """The calls that are at a job."""
        return [call for call, (_, job) in self._busy.items() if job is not None]

    def _greet(self, name: str) -> None:
        """Ask a worker whether it is there, however often it is started again; before it answers it gets nothing to do."""
        self._busy[self._actors[name].ready.options(max_task_retries=-1).remote()] = name, None

    def _hand(self, name: str, method: str, job: Job) -> None:
        self._busy[getattr(self._actors[name], method).remote(job)] = name, job

    def _next(self) -> tuple[str, Job | None, Outcome | None]:
        """Wait for any worker: its name, what it had in hand, if anything, and what came of it, if it lives."""
        call = self._answered()
        name, job = self._busy.pop(call)
        try:
            outcome = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:  # the worker, or its node, is dead or out of reach
            log.debug("%s died", name, exc_info=error)
            if job is not None:
                self._greet(name)
            elif not self._busy and not self._idle:
                raise RuntimeError(f"no worker can be started; the last one said: {error}") from error
            return name, job, None
        self._idle.append(name)
        return name, job, outcome

    def _answered(self) -> Any:
        while True:
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=PATIENCE)
            if ready:
                return ready[0]
            if not self._in_hand():
                log.warning("no worker has started yet; the cluster may have no room for one")
