"""Receipts, presence and fan-out, each used alone: the example that the documentation shows, as it stands there."""

from __future__ import annotations

import pytest

from whisperkit import DeviceId, GatewayId
from whisperkit.fanout import Append, Enqueue, Hint, Limits, Notify, plan
from whisperkit.presence import PresenceTracker
from whisperkit.receipts import Receipts


def test_each_engine_is_useful_with_nothing_else_running(capsys: pytest.CaptureFixture[str]) -> None:
    alice, phone, laptop = DeviceId.named("alice", 1), DeviceId.named("bob", 1), DeviceId.named("bob", 2)
    receipts = Receipts(members=[alice.user, phone.user])  # receipts only
    receipts.posted(seq=3, sender=alice)
    print(receipts.delivered(device=phone, upto=3))  # [StatusChanged(upto=3, status=DELIVERED)]
    print(receipts.read(device=laptop, upto=2))  # [StatusChanged(upto=2, status=READ)]
    print(receipts.read(device=phone, upto=1))  # []: late and lower, nothing moves back
    print(receipts.status(3), receipts.unread(phone.user))  # DELIVERED 1, computed, never counted
    presence = PresenceTracker(ttl_s=40, grace_s=35)  # presence only
    print(presence.beat(phone, now=0.0))  # [CameOnline(user=bob)]
    print(presence.beat(laptop, now=30.0))  # []: still online, nothing to publish
    print(presence.deadline)  # 75.0: call handle_timer then
    print(presence.handle_timer(now=75.0))  # []: the phone is gone, the laptop is not
    print(presence.handle_timer(now=105.0))  # [WentOffline(user=bob, last_seen_s=30.0)]
    roster = {alice.user: [alice], phone.user: [phone, laptop]}  # fanout only
    for step in plan(sender=alice, roster=roster, online={phone: GatewayId("g1")}, limits=Limits()).steps:
        match step:
            case Append(devices=devices):
                print("append", len(devices))
            case Hint(gateway=gateway, devices=devices):
                print("hint", gateway, len(devices))
            case Enqueue(devices=devices):
                print("enqueue", len(devices))
            case Notify(gateways=gateways):
                print("notify", len(gateways))

    bob = repr(phone.user)
    assert capsys.readouterr().out.splitlines() == [
        "[StatusChanged(upto=3, status=DELIVERED)]",
        "[StatusChanged(upto=2, status=READ)]",
        "[]",
        "DELIVERED 1",
        f"[CameOnline(user={bob})]",
        "[]",
        "75.0",
        "[]",
        f"[WentOffline(user={bob}, last_seen_s=30.0)]",
        "append 2",
        "hint g1 1",
    ]
