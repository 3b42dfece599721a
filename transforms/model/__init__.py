"""The head that turns vectors into probabilities, and the directory that a trained model is."""
