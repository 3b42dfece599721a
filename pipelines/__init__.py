"""What the driver runs: one command a file, graph assembly, training and reports."""

import logging

# Beam warns at import that its Google Cloud extra is not installed; nothing here needs it to be.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
