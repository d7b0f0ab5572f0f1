"""A Django site with users, rooms and a login of its own, and a chat in it through Channels."""
