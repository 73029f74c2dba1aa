"""Trees in memory that outlive their daemon."""
