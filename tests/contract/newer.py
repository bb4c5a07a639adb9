"""Families that the installed transformers does not have yet, or fails in: there is nothing to compare them with.

With the pinned release, which has all of them, nothing is left out; older ones run in `make floor` and `make release`.
"""

import pytest

from nemo_automodel.parity.newer import NewerFamily, refuse_newer


def leave_out_newer(config_class):
    """Skips the running test where only newer releases have the class that `transformers:Name` names."""
    try:
        refuse_newer(config_class)
    except NewerFamily as error:
        pytest.skip(str(error))
