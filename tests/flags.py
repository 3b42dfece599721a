"""Flags of Beam's that the flow's tests run with, such as ``--direct_runner_bundle_repeat=1``."""

import os

BEAM_FLAGS = os.environ.get("HELIOGRAPH_TEST_BEAM_FLAGS", "").split()
