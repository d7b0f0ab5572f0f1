"""From a SEND to its SENT: post, and then whatever it takes until the sender is needed no more.

SENT means: from here on this needs neither the device nor the process it spoke to. A fused post has that in its
commit; a small one when it is finished; one for a worker when its job is durable; a pulled one at once. A repeat
has to reach the same condition first, because the gateway that posted may have died before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from whisperkit.fanout import next_strategy
from whisperkit.ids import ConversationId, ConversationSeq, Owner
from whisperkit.runtime import Mailbox
from whisperkit.service import owners
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.core import Core
from whisperkit.service.delivery import Deliverer
from whisperkit.service.failed import Failed
from whisperkit.service.finishing import Finisher, Wanted, owed_of
from whisperkit.service.posting import ChangeRoster, ChangeStrategy, PostMessage, PostResult
from whisperkit.service.working_set import WorkingSet
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync.conversation import Conversation, Fenced, Posted, Repeat, Unchanged, Unfinished
from whisperkit.sync.frames import EntryKind
from whisperkit.sync.rows import PostRow

__all__ = ["Poster", "settle"]

log = logging.getLogger("whisperkit.service")

RETRY_S = 1.0
# Incarnations that a post may meet a fence with before its device is told to come again.
MAX_FENCED = 8
# When a note was made that may be there or not: it is made again before the next post, and settled with the others.
DOUBTFUL = float("-inf")

Posting: TypeAlias = PostMessage | ChangeRoster | ChangeStrategy
Done: TypeAlias = Callable[[PostResult | Failed], None]


class _Waiting(NamedTuple):
    """A post that met a fence, and how many it met before."""

    operation: Posting
    done: Done
    fenced: int


class Poster:
    """Posts, and sees to what a post owes.

    Args:
        core: The gateway.
        finisher: Finishes conversations.
        deliver: Pushes what was appended.
        pulled: Told that a conversation whose members pull has a new head.
        job_put: Told that a job was put, so that a worker here need not wait to find it.
        posted: Told that a conversation has a new row.
    """

    def __init__(
        self,
        core: Core,
        finisher: Finisher,
        deliver: Deliverer,
        *,
        pulled: Callable[[ConversationId, ConversationSeq], None],
        job_put: Callable[[], None],
        posted: Callable[[ConversationId], None],
    ) -> None:
        self._core = core
        self._spans_partitions = core.spans_partitions
        self._finisher = finisher
        self._deliver = deliver
        self._pulled = pulled
        self._job_put = job_put
        self._tell_posted = posted
        self._under_way: dict[ConversationId, int] = {}
        self._noted: dict[ConversationId, float] = {}
        self._held: dict[ConversationId, list[tuple[Posting, Done]]] = {}
        self._jobs: dict[ConversationId, list[Wanted]] = {}
        self._reborn: list[_Waiting] = []

    def post(self, operation: Posting, done: Done) -> None:
        """Post; `done` gets the result once its condition for SENT holds, or the refusal, or `Failed`."""
        conv = operation.conv
        held = self._held.get(conv)
        if held is not None:
            held.append((operation, done))
        elif not self._spans_partitions and self._needs_note(conv):
            self._held[conv] = [(operation, done)]
            owner = self._core.owner
            self._core.submit(_Note(owner, conv), partial(self._was_noted, conv, owner))
        else:
            self._submit(operation, done)

    async def run(self, operation: Posting) -> PostResult:
        """Post, and wait for the result as `post` hands it on.

        Raises:
            StoreError: The store did not take it.
        """
        box: Mailbox[PostResult | Failed] = self._core.runtime.mailbox()
        self.post(operation, box.put)
        result = await box.get()
        assert result is not None  # no timeout was given
        if isinstance(result, Failed):
            raise result.error
        return result

    def _submit(self, operation: Posting, done: Done, fenced: int = 0) -> None:
        self._under_way[operation.conv] = self._under_way.get(operation.conv, 0) + 1
        upto, is_own_only = self._finisher.known(operation.conv)
        if upto:
            operation.finished_upto(upto, is_own_only=is_own_only)
        self._core.submit(operation, partial(self._decided, operation, done, fenced))

    # ---- notes where a commit cannot carry them ----

    def _needs_note(self, conv: ConversationId) -> bool:
        noted_at = self._noted.get(conv)
        return noted_at is None or self._core.runtime.now() - noted_at > self._core.config.note_s

    def _was_noted(self, conv: ConversationId, owner: Owner, answer: Fenced | Failed | None) -> None:
        is_good = owner == self._core.owner and answer is None
        self._noted[conv] = self._core.runtime.now() if is_good else DOUBTFUL
        for operation, done in self._held.pop(conv):
            if is_good:
                self._submit(operation, done)
            elif isinstance(answer, Failed):
                done(answer)
            elif isinstance(answer, Fenced):
                self._go_on(_Waiting(operation, done, 0), answer.above)
            else:  # a new incarnation began meanwhile; the note is another's
                self.post(operation, done)

    def noted(self) -> list[ConversationId]:
        """Conversations that this gateway noted and that look quiet now."""
        return [conv for conv in self._noted if self._is_quiet(conv)]

    def _is_quiet(self, conv: ConversationId) -> bool:
        is_free = conv not in self._under_way and conv not in self._held
        return is_free and not self._finisher.is_busy(conv)

    def remember_note(self, conv: ConversationId) -> None:
        """A commit carried a note."""
        self._noted[conv] = self._core.runtime.now()

    async def settle(self, conv: ConversationId) -> None:
        """Take the note about a quiet conversation away; posts that come meanwhile wait, and note it again."""
        if not self._is_quiet(conv):
            return  # something came while another conversation was settled
        self._held[conv] = []
        self._noted[conv] = DOUBTFUL
        try:
            is_settled = await settle(self._core, self._finisher, self._core.owner, conv)
        except Exception:
            # The store is away. Whoever waits must not wait for ever; the note is taken away another time.
            log.warning("note not settled", extra={"conversation": conv}, exc_info=True)
        else:
            if is_settled:
                self._noted.pop(conv, None)  # gone already if a new incarnation began meanwhile
            else:
                self._noted[conv] = self._core.runtime.now()
                self._finisher.want(conv, 0, lambda: None)
        held = self._held.pop(conv)
        for operation, done in held:
            self.post(operation, done)

    # ---- what follows a decision ----

    def _decided(self, operation: Posting, done: Done, fenced: int, result: PostResult | Failed) -> None:
        conv = operation.conv
        self._under_way[conv] -= 1
        if not self._under_way[conv]:
            del self._under_way[conv]
        if operation.may_have_noted:
            self.remember_note(conv)
        if isinstance(result, Failed):
            done(result)
            return
        match result.answer:
            case Posted(seq, row):
                self._posted(conv, seq, row, result, done)
            case Repeat(seq):
                self._core.hook.repeated("post", 1)
                if isinstance(operation, PostMessage) and operation.send.kind is EntryKind.ROSTER:
                    done = self._then_strategy(conv, done)  # the gateway that posted may have died before
                if seq <= result.conversation.fanned_out:
                    done(result)  # its copies are in the inboxes, so the condition for SENT holds
                else:
                    self._see_to(conv, seq, result.conversation.strategy, partial(done, result))
            case Unchanged() if isinstance(operation, ChangeRoster):
                # Changed already, maybe by this very call, whose reply was lost: then it is still owed to the members.
                head = result.conversation
                done = self._then_strategy(conv, done)
                if head.is_finished:
                    done(result)
                else:
                    self._see_to(conv, head.seq, head.strategy, partial(done, result))
            case Fenced(above) if fenced < MAX_FENCED:
                self._go_on(_Waiting(operation, done, fenced), above)
            case _:
                done(result)

    def _posted(self, conv: ConversationId, seq: ConversationSeq, row: PostRow, result: PostResult, done: Done) -> None:
        self._tell_posted(conv)
        if row.kind is EntryKind.ROSTER:
            done = self._then_strategy(conv, done)
        if result.is_fused:
            self._deliver.push(result.deliveries)
            self._core.hook.appended(len(result.deliveries))
            done(result)
            return
        if not row.strategy.is_pushed:
            self._pulled(conv, seq)
        if result.conversation.is_finished:
            done(result)
        else:
            self._see_to(conv, seq, row.strategy, partial(done, result))

    def _see_to(self, conv: ConversationId, seq: ConversationSeq, strategy: Strategy, done: Callable[[], None]) -> None:
        """Call `done` when row `seq` needs nobody any more."""
        if strategy is Strategy.SMALL:
            self._finisher.want(conv, seq, done)
        elif (jobs := self._jobs.get(conv)) is not None:
            jobs.append(Wanted(seq, self._core.runtime.now(), done))
        else:
            self._jobs[conv] = [Wanted(seq, self._core.runtime.now(), done)]
            self._core.runtime.spawn(partial(self._put_jobs, conv), name=f"job {conv}")

    async def _put_jobs(self, conv: ConversationId) -> None:
        """Put one job after another: of what gathers meanwhile one is enough, and side by side they would conflict."""
        waiting = self._jobs[conv]
        while waiting:
            count = len(waiting)
            await self._put_job(conv, ConversationSeq(max(wanted.upto for wanted in waiting)))
            for wanted in waiting[:count]:
                wanted.done()
            del waiting[:count]
        del self._jobs[conv]

    def owed(self) -> tuple[int, float]:
        """How many posts wait until their job is durable, and for how long the oldest, in seconds."""
        return owed_of(self._jobs.values(), now=self._core.runtime.now())

    async def _put_job(self, conv: ConversationId, upto: ConversationSeq) -> None:
        while True:
            try:
                await self._core.stores.jobs.put(conv, upto)
            except Exception:
                # The posts are durable and noted; their ticks wait until the job is, too.
                log.warning("job not put", extra={"conversation": conv}, exc_info=True)
            else:
                break
            await self._core.runtime.sleep(RETRY_S)
        self._job_put()

    def _go_on(self, waiting: _Waiting, above: int) -> None:
        """This gateway was taken for dead and lives: go on as a new incarnation. The device sees nothing."""
        if self._core.owner.incarnation > above:
            self._again(waiting)
            return
        self._reborn.append(waiting)
        if len(self._reborn) == 1:
            self._core.runtime.spawn(partial(self._begin_again, above), name="go on")

    async def _begin_again(self, above: int) -> None:
        """Open one incarnation, however many posts met a fence."""
        self._core.hook.fenced()
        log.warning("taken for dead", extra={"gateway": self._core.owner.gateway, "fenced_upto": above})
        error: Exception | None = None
        try:
            await self._core.begin_incarnation(above=above)
        except Exception as raised:
            log.warning("no new incarnation; posts are refused for now", exc_info=True)
            error = raised
        else:
            self._noted.clear()
        reborn, self._reborn = self._reborn, []
        for waiting in reborn:
            if error is not None:
                waiting.done(Failed(error))
            else:
                self._again(waiting)

    def _again(self, waiting: _Waiting) -> None:
        if self._core.spans_partitions:
            self._submit(waiting.operation, waiting.done, waiting.fenced + 1)
        else:
            self.post(waiting.operation, waiting.done)

    def _then_strategy(self, conv: ConversationId, done: Done) -> Done:
        """After a change of members: whether another strategy fits better now."""

        def then(result: PostResult | Failed) -> None:
            done(result)
            if not isinstance(result, Failed):
                self.fit_strategy(conv, result.conversation)

        return then

    def fit_strategy(self, conv: ConversationId, head: Conversation) -> None:
        """Change the strategy if the number of members asks for it."""
        # Whether all is finished is looked at by the rule itself, in the commit that changes the strategy.
        wanted = next_strategy(head.strategy, head.members, is_drained=True, limits=self._core.config.fanout)
        if wanted is not head.strategy:
            self._change_strategy(conv, wanted)

    def _change_strategy(self, conv: ConversationId, wanted: Strategy) -> None:
        def done(result: PostResult | Failed) -> None:
            if isinstance(result, Failed):
                log.warning("strategy not changed", extra={"conversation": conv}, exc_info=result.error)
            elif isinstance(result.answer, Unfinished):
                head = result.conversation
                self._finisher.want(conv, head.seq, partial(self._change_strategy, conv, wanted))

        self.post(ChangeStrategy(self._core, conv, wanted), done)


async def settle(core: Core, finisher: Finisher, owner: Owner, conv: ConversationId) -> bool:
    """Finish a conversation and take an owner's note about it away. False: something was posted meanwhile.

    The owner must not be able to post while this runs: it is fenced, or holds its own posts back.
    """
    await finisher.finish(conv)
    if core.spans_partitions:
        return bool(await core.executor.run(_SettleTogether(owner, conv)))
    await core.executor.run(_Settle(owner, conv))
    return True


class _OnNote:
    """Runs a rule on an owner's note about a conversation."""

    def __init__(self, owner: Owner, conv: ConversationId) -> None:
        self.lane = owners.partition(owner.gateway)
        self._owner = owner
        self._conv = conv


class _Note(_OnNote):
    """Notes a conversation, where a post's commit cannot."""

    def run(self, work: WorkingSet) -> Fenced | None:
        return work.apply(self.lane, owners.note(work.state(self.lane, owners.OWNERS), self._owner, self._conv))


class _Settle(_OnNote):
    """Takes a note away."""

    def run(self, work: WorkingSet) -> None:
        work.apply(self.lane, owners.settle(work.state(self.lane, owners.OWNERS), self._owner, self._conv))


class _SettleTogether(_OnNote):
    """Takes a note away in one commit with the finding that nothing is unfinished."""

    def run(self, work: WorkingSet) -> bool:
        name = conversations.partition(self._conv)
        head = work.state(name, CONVERSATION)
        notes = work.state(self.lane, owners.OWNERS)
        if not head.is_finished:
            return False
        work.touch(name)
        work.apply(self.lane, owners.settle(notes, self._owner, self._conv))
        return True
