"""The memory provider without a mount."""
