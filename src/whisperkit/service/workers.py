"""A worker: takes jobs, finishes what they name, and says that they are done. What is not done comes again."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from whisperkit.ids import ConversationId
from whisperkit.runtime import Mailbox
from whisperkit.service.core import Core
from whisperkit.service.finishing import Finisher
from whisperkit.stores import Job

__all__ = ["Worker"]

log = logging.getLogger("whisperkit.service")

JOBS_AT_ONCE: Final = 16
# How long to wait before looking again, where nobody says that there is a job.
IDLE_S: Final = 0.5


class Worker:
    """Works on jobs.

    Args:
        core: The gateway.
        finisher: Does the work.
    """

    def __init__(self, core: Core, finisher: Finisher) -> None:
        self._core = core
        self._finisher = finisher
        self._jobs: Mailbox[bool] = core.runtime.mailbox()

    @property
    def waiting(self) -> int:
        """How often it was woken since it looked last: never more than once, also where nobody works."""
        return len(self._jobs)

    def wake(self) -> None:
        """There is a job."""
        if not len(self._jobs):
            self._jobs.put(True)

    async def serve(self) -> None:
        """Take jobs, finish what they name, and say that they are done."""
        jobs = self._core.stores.jobs
        while True:
            try:
                claim = await jobs.take(JOBS_AT_ONCE)
                if not claim.jobs:
                    await self._jobs.get(timeout_s=IDLE_S)
                    self._jobs.take(len(self._jobs))
                    continue
                took: list[float] = []
                calls = [partial(self._work, job, took) for job in claim.jobs]
                await self._core.runtime.gather(calls, limit=JOBS_AT_ONCE)
                await jobs.done(claim)
                for seconds in took:
                    self._core.hook.job_done(seconds)
            except Exception:
                # Jobs that are not done come again.
                log.warning("jobs not done", exc_info=True)
                await self._core.runtime.sleep(IDLE_S)

    async def _work(self, job: Job, took: list[float]) -> None:
        began = self._core.runtime.now()
        await self._finish(job.conversation, job.upto)
        took.append(self._core.runtime.now() - began)

    async def _finish(self, conv: ConversationId, upto: int) -> None:
        box: Mailbox[bool] = self._core.runtime.mailbox()
        self._finisher.want(conv, upto, partial(box.put, True))
        await box.get()
