"""Who a name is, and what it may do."""
