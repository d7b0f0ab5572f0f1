"""What keeps the server and the client from running here, found before they are started."""
