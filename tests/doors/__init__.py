"""What the doors promise: models beside them, lifetimes, errors, and other processes."""
