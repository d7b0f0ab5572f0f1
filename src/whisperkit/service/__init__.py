"""The server side: flows over the doors to storage and network, for any number of gateways.

`MessageService` is what an application holds. It posts, finishes, catches up, acknowledges, and repairs
what a crash left; devices connect through `attach`, `receive` and `detach`, plain functions that fit any framework.
"""

from whisperkit.service.hook import Hook
from whisperkit.service.limits import ServiceConfig
from whisperkit.service.service import AttachedLink, MessageService, ReceivedEntry, SentMessage

__all__ = ["AttachedLink", "Hook", "MessageService", "ReceivedEntry", "SentMessage", "ServiceConfig"]
