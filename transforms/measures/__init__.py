"""What is measured of predictions: metrics that add up, as plain numbers."""
