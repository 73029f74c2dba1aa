"""What a new user does first: set up, install, paste the README's session, run the demo."""
