"""The control socket: framing, validation, the server, both clients, and the verbs on them."""
