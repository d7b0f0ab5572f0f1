"""A bot, and a client in JavaScript on the official Signal library that chats with it: see README.md."""
