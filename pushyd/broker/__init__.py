"""The ZeroMQ side of the server: who may connect, what comes in, what goes out."""
