"""The self-test of a runner: a drawn collection, and the comparison of what two runners make of it."""
