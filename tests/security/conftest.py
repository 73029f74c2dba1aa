"""What the security tests share."""

from tests.mounted.passthrough.attached import attach  # noqa: F401 - a fixture
