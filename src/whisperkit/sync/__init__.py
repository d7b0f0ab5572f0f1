"""Sync: conversations, inboxes and cursors, as pure rules on partitions; what the device does in between.

The rules of a partition are a namespace: ``from whisperkit.sync import conversation, inbox`` and then
``conversation.post``, ``inbox.append``. So are the frames of the wire.
"""

from whisperkit.sync.conversation import Conversation, Draft
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.inbox import Inbox, Item
from whisperkit.sync.roster import Roster
from whisperkit.sync.rows import PostRow
from whisperkit.sync.window import Window

__all__ = ["Conversation", "Cursor", "Draft", "Inbox", "Item", "PostRow", "Roster", "Window"]
