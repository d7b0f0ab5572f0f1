"""A chat back end with users and rooms of its own: FastAPI, PostgreSQL, several workers."""
