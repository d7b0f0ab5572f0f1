"""Reference server, client and adapters: whisperkit put to use."""
