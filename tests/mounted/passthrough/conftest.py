"""What the tests of attached host directories share."""

from tests.mounted.passthrough.attached import attach  # noqa: F401 - a fixture
