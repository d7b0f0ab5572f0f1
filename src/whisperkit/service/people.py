"""Users, their devices and their prekeys: registering, linking, publishing, taking.

A device is linked in an order that a crash may cut anywhere: the account first, then the inbox, then the keys; each
step names the link by the version of the list that made it, so a repeat completes what is missing and a late
repeat of an older link does nothing. Its inbox is open before it reads its snapshot (model m03).
"""

from __future__ import annotations

from typing import Any

from whisperkit import accounts, keys
from whisperkit.accounts import Account, Linked, LinkedDevice, NewDevice, Unlinked
from whisperkit.ids import DeviceId, MessageId, UserId
from whisperkit.partitions import Partition, Row
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import ACCOUNT, INBOX, KEYS
from whisperkit.service.core import Core
from whisperkit.service.working_set import Cold, Load, WorkingSet
from whisperkit.sync import inbox as inboxes

__all__ = ["People"]


class People:
    """What concerns users rather than messages.

    Args:
        core: The gateway.
        catchup: Reads inboxes.
    """

    def __init__(self, core: Core, catchup: CatchUp) -> None:
        self._core = core
        self._catchup = catchup

    async def account(self, user: UserId, *, is_fresh: bool = False) -> Account:
        """The account of a user; one that does not exist has no devices."""
        return await self._core.device_lists.read(user, is_fresh=is_fresh)

    async def existing(self, users: tuple[UserId, ...]) -> list[tuple[UserId, Account]]:
        """The accounts of those users who exist."""
        lists = self._core.device_lists
        while missing := lists.missing(users):  # again, if one was forgotten while others were read
            await lists.fetch(missing)
        return [(user, account) for user in users if (account := lists.account(user)).version]

    async def register(
        self, device: DeviceId, *, identity_key: bytes, registration_id: int
    ) -> accounts.Linked | accounts.AccountTaken:
        """Make an account with its first device, and open its inbox."""
        new = NewDevice(device.number, identity_key, registration_id)
        operation = _ChangeAccount(self._core, device.user, _register, new)
        answer: accounts.Linked | accounts.AccountTaken = await self._core.executor.run(operation)
        if isinstance(answer, Linked):
            await self._open(device, answer.link)
        return answer

    async def link(
        self, device: DeviceId, *, by: DeviceId | None, identity_key: bytes, registration_id: int
    ) -> accounts.LinkAnswer:
        """Add a device to its user.

        Args:
            device: The new device.
            by: The device that asks: it has to be drained, because the new one starts where it is; `None`:
                the application vouches for it.
            identity_key: The new device's.
            registration_id: The new device's.
        """
        new = NewDevice(device.number, identity_key, registration_id)
        number, is_drained = device.number, True
        if by is not None:
            number, is_drained = by.number, await self.is_drained(by)
        else:
            account = await self.account(device.user, is_fresh=True)
            number = account.devices[0].number if account.devices else number
        operation = _ChangeAccount(self._core, device.user, _link, new, number, is_drained)
        answer: accounts.LinkAnswer = await self._core.executor.run(operation)
        if isinstance(answer, Linked):
            await self._open(device, answer.link)
        return answer

    async def unlink(self, device: DeviceId, *, by: DeviceId) -> Unlinked | accounts.NotLinked | accounts.LastDevice:
        """Remove a device of the asking device's user."""
        operation = _ChangeAccount(self._core, device.user, _unlink, device.number, by.number)
        answer: Unlinked | accounts.NotLinked | accounts.LastDevice = await self._core.executor.run(operation)
        if isinstance(answer, Unlinked):
            await self._core.executor.run(_CloseInbox(device, answer.link))
            await self._core.executor.run(_ResetKeys(device, answer.link + 1))
        return answer

    async def is_drained(self, device: DeviceId) -> bool:
        """Whether a device has acknowledged all of its inbox that is not gone, as far as the store knows."""
        inbox = await self._catchup.inbox(device)
        name = inboxes.partition(device)
        marks = (await self._core.stores.marks.marks([name])).get(name, {})
        # The floor passes the mark by age, or when the number is linked again.
        return max(marks.get(inboxes.acked_mark(inbox.epoch), 0), inbox.floor) >= inbox.seq

    async def complete(self, device: DeviceId, linked: LinkedDevice) -> None:
        """Open the inbox of a linked device if a crash came between."""
        inbox = await self._catchup.inbox(device)
        if inbox.link < linked.link:
            await self._open(device, linked.link)
        elif inbox.epoch < self._core.config.epoch:
            await self._core.executor.run(_RaiseEpoch(device, self._core.config.epoch))

    async def _open(self, device: DeviceId, link: int) -> None:
        self._core.device_lists.forget(device.user)
        await self._core.executor.run(_OpenInbox(device, self._core.config.epoch, link))

    # ---- prekeys ----

    async def publish(self, device: DeviceId, upload: keys.KeyUpload) -> keys.Uploaded | keys.StaleGeneration:
        """Take public prekeys of a device."""
        answer: keys.Uploaded | keys.StaleGeneration = await self._core.executor.run(_Publish(device, upload))
        return answer

    async def take(self, device: DeviceId, *, requester: DeviceId, request: MessageId) -> keys.TakeAnswer:
        """Hand a bundle of a device out."""
        operation = _Take(self._core, device, requester, request)
        answer: keys.TakeAnswer = await self._core.executor.run(operation)
        if isinstance(answer, keys.Bundle):
            self._core.hook.prekey_taken("last_resort" if answer.is_last_resort else "one_time")
        elif isinstance(answer, keys.Limited):
            self._core.hook.prekey_taken("limited")
        return answer


# ---- operations -----------------------------------------------------------------------------------------------------


def _register(core: Core, account: Account, new: NewDevice) -> Any:  # Any: a step of the rule's answers
    return accounts.register(account, new, at_ms=core.runtime.wall_ms())


def _link(core: Core, account: Account, new: NewDevice, by: int, is_drained: bool) -> Any:  # as above
    return accounts.link(account, new, by=by, at_ms=core.runtime.wall_ms(), is_drained=is_drained)


def _unlink(core: Core, account: Account, number: int, by: int) -> Any:  # as above
    return accounts.unlink(account, number, by=by)


class _ChangeAccount:
    """Runs a rule on an account."""

    def __init__(self, core: Core, user: UserId, rule: Any, *arguments: Any) -> None:  # Any: one of the three above
        self.lane: Partition = accounts.partition(user)
        self._core = core
        self._user = user
        self._rule = rule
        self._arguments = arguments

    def run(self, work: WorkingSet) -> Any:
        account = work.state(self.lane, ACCOUNT)
        step = self._rule(self._core, account, *self._arguments)
        if step.changes(account):
            self._core.device_lists.forget(self._user)
            return work.apply(self.lane, step)
        return step.answer


class _OnInbox:
    """Runs a rule on an inbox."""

    def __init__(self, device: DeviceId) -> None:
        self.lane: Partition = inboxes.partition(device)
        self._device = device

    def step(self, inbox: inboxes.Inbox) -> Any:  # Any: each rule has its own answers
        raise NotImplementedError

    def run(self, work: WorkingSet) -> Any:
        inbox = work.state(self.lane, INBOX)
        step = self.step(inbox)
        return work.apply(self.lane, step) if step.changes(inbox) else step.answer


class _OpenInbox(_OnInbox):
    def __init__(self, device: DeviceId, epoch: int, link: int) -> None:
        super().__init__(device)
        self._epoch = epoch
        self._link = link

    def step(self, inbox: inboxes.Inbox) -> Any:
        return inboxes.open_inbox(inbox, self._device, epoch=self._epoch, link=self._link)


class _CloseInbox(_OnInbox):
    def __init__(self, device: DeviceId, link: int) -> None:
        super().__init__(device)
        self._link = link

    def step(self, inbox: inboxes.Inbox) -> Any:
        return inboxes.close_inbox(inbox, link=self._link)


class _RaiseEpoch(_OnInbox):
    def __init__(self, device: DeviceId, epoch: int) -> None:
        super().__init__(device)
        self._epoch = epoch

    def step(self, inbox: inboxes.Inbox) -> Any:
        return inboxes.raise_epoch(inbox, self._epoch)


class _OnKeys:
    """Runs a rule on a device's prekeys."""

    def __init__(self, device: DeviceId) -> None:
        self.lane: Partition = keys.partition(device)

    def step(self, work: WorkingSet, state: keys.Keys) -> Any:  # Any: each rule has its own answers
        raise NotImplementedError

    def run(self, work: WorkingSet) -> Any:
        state = work.state(self.lane, KEYS)
        step = self.step(work, state)
        return work.apply(self.lane, step) if step.changes(state) else step.answer


class _Publish(_OnKeys):
    def __init__(self, device: DeviceId, upload: keys.KeyUpload) -> None:
        super().__init__(device)
        self._upload = upload

    def step(self, work: WorkingSet, state: keys.Keys) -> Any:
        return keys.upload(state, self._upload)


class _ResetKeys(_OnKeys):
    def __init__(self, device: DeviceId, generation: int) -> None:
        super().__init__(device)
        self._generation = generation

    def step(self, work: WorkingSet, state: keys.Keys) -> Any:
        return keys.reset(state, self._generation)


class _Take(_OnKeys):
    def __init__(self, core: Core, device: DeviceId, requester: DeviceId, request: MessageId) -> None:
        super().__init__(device)
        self._core = core
        self._requester = requester
        self._request = request

    def step(self, work: WorkingSet, state: keys.Keys) -> Any:
        spans = keys.rows_to_take(state, self._requester)
        missing = work.missing_keys(self.lane, KEYS, [span.start for span in spans])
        if missing:
            raise Cold(Load(self.lane, KEYS, keys=missing))
        found = [(span.start, work.row(self.lane, KEYS, span.start)) for span in spans]
        rows = [Row(key, value) for key, value in found if value is not None]
        return keys.take(
            state,
            rows,
            requester=self._requester,
            request=self._request,
            wall_ms=self._core.runtime.wall_ms(),
        )
