"""Writers of one table at once, and commits whose outcome nobody tells."""
