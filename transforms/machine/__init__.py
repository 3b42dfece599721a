"""What the machine gives this process."""
