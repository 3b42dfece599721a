"""Other ways to turn images into vectors, each as its own documentation recommends it and with heliograph's network."""
