"""Sync: conversations, inboxes and cursors, as pure rules on partitions; what the device does in between."""
