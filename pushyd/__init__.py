"""The push server: HTTP API, ZeroMQ sockets, and the jobs between them."""
