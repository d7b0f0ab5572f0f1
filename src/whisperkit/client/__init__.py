"""The device side: sessions over a store, and the whole life of one device over a store and a link."""

from whisperkit.client.client import Client
from whisperkit.client.session_manager import SessionManager

__all__ = ["Client", "SessionManager"]
