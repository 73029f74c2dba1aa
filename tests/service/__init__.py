"""A mount as a service: what is told to the service manager, and a real systemd of a user."""
