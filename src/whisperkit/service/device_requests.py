"""Requests about devices and their prekeys: lists, publishing, taking, linking, unlinking."""

from __future__ import annotations

from whisperkit import keys
from whisperkit.accounts import Linked, NotDrained, NumberTaken, TooManyDevices, Unlinked
from whisperkit.errors import OutOfTurnError, UnauthorisedError
from whisperkit.ids import DeviceId
from whisperkit.service.acks import AckSaver
from whisperkit.service.delivery import LinkTable
from whisperkit.service.link import DeviceLink
from whisperkit.service.people import People
from whisperkit.service.sweeper import Sweeper
from whisperkit.sync import frames
from whisperkit.sync.frames import ByeCode, FailureReason, Frame

__all__ = ["DeviceRequests"]


class DeviceRequests:
    """Answers what devices ask about devices.

    Args:
        people: Accounts and prekeys.
        acks: Saves what the asking device acknowledged, before it may link another.
        links: Who is connected here.
        sweeper: Lets what is remembered of takers go.
    """

    def __init__(self, people: People, acks: AckSaver, links: LinkTable, sweeper: Sweeper) -> None:
        self._people = people
        self._acks = acks
        self._links = links
        self._sweeper = sweeper

    async def answer(self, link: DeviceLink, frame: Frame) -> None:
        """Answer one request.

        Raises:
            PeerError: It is none, it is not of its form, or the device was unlinked meanwhile; the link is closed.
        """
        match frame:
            case frames.Devices(request, users):
                found = await self._people.existing(users)
                # A device that the application let in without a key has none to list: nobody can encrypt for it.
                lists = tuple(
                    frames.DeviceList(
                        user,
                        account.version,
                        tuple(frames.ListedDevice(*d[:3]) for d in account.devices if d.identity_key),
                    )
                    for user, account in found
                )
                link.send(frames.DeviceLists(request, lists))
            case frames.Publish():
                await self._publish(link, frame)
            case frames.Take():
                await self._take(link, frame)
            case frames.Link():
                await self._link_device(link, frame)
            case frames.Unlink():
                await self._unlink_device(link, frame)
            case _:
                raise OutOfTurnError(frame=frames.BY_TYPE[type(frame)].name, state="established")

    async def _publish(self, link: DeviceLink, frame: frames.Publish) -> None:
        account = await self._people.account(link.device.user)
        listed = account.device(link.device.number)
        if listed is None:
            raise UnauthorisedError("the device was unlinked")
        upload = keys.KeyUpload(
            listed.link,
            keys.SignedKey(*frame.signed),
            keys.SignedKey(*frame.last_resort),
            tuple(keys.OneTimeKey(*key) for key in frame.one_time),
            tuple(keys.SignedKey(*key) for key in frame.kyber),
        )
        upload.check()
        answer = await self._people.publish(link.device, upload)
        if isinstance(answer, keys.Uploaded):
            link.send(frames.Published(frame.request, answer.one_time, answer.kyber))
            self._sweeper.published(link.device)
        else:
            link.send(frames.Failed(frame.request, FailureReason.INVALID, "a later life of the key store began"))

    async def _take(self, link: DeviceLink, frame: frames.Take) -> None:
        account = await self._people.account(frame.device.user)
        listed = account.device(frame.device.number)
        answer: keys.TakeAnswer = keys.NoKeys()
        if listed is not None:
            answer = await self._people.take(frame.device, requester=link.device, request=frame.request)
        match answer:
            case keys.Bundle():
                assert listed is not None  # otherwise nothing was taken
                one_time = None if answer.one_time is None else frames.OneTimeKey(*answer.one_time)
                bundle = frames.BundleKeys(
                    listed.registration_id,
                    listed.identity_key,
                    frames.SignedKey(*answer.signed),
                    frames.KyberKey(*answer.kyber),
                    answer.is_last_resort,
                    one_time,
                )
                link.send(frames.Bundle(frame.request, frame.device, bundle))
            case keys.Limited(retry_after_ms):
                detail = f"too many bundles; wait {retry_after_ms} ms"
                link.send(frames.Failed(frame.request, FailureReason.TRY_LATER, detail))
            case _:
                link.send(frames.Bundle(frame.request, frame.device, None))

    async def _link_device(self, link: DeviceLink, frame: frames.Link) -> None:
        await self._acks.save_now([link])
        answer = await self._people.link(
            DeviceId(link.device.user, frame.number),
            by=link.device,
            identity_key=frame.identity_key,
            registration_id=frame.registration_id,
        )
        match answer:
            case Linked():
                link.send(frames.Linked(frame.request, answer.version))
            case NotDrained():
                link.send(frames.Failed(frame.request, FailureReason.NOT_DRAINED, "catch up first"))
            case NumberTaken(free):
                link.send(frames.Failed(frame.request, FailureReason.TAKEN, f"{free} is free"))
            case TooManyDevices(limit):
                link.send(frames.Failed(frame.request, FailureReason.LIMIT, f"at most {limit} devices"))
            case _:
                raise UnauthorisedError("the device was unlinked")

    async def _unlink_device(self, link: DeviceLink, frame: frames.Unlink) -> None:
        device = DeviceId(link.device.user, frame.number)
        answer = await self._people.unlink(device, by=link.device)
        if not isinstance(answer, Unlinked):
            link.send(frames.Failed(frame.request, FailureReason.NOT_ALLOWED, "the last device stays"))
            return
        link.send(frames.Linked(frame.request, answer.version))
        other = self._links.get(device)
        if isinstance(other, DeviceLink):
            other.bye(ByeCode.UNAUTHORISED, why="unlinked")
