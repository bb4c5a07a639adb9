"""The matrix of adapters: families, parts, doors, backends, directions. `python -m nemo_automodel.testing [FAMILY ...]`

A line an exchange: how far the logits are apart, or why somebody refused. Exits with 1 where any are apart. With trl
installed (`pip install trl`) its SFTTrainer is one of the doors.
"""

import sys
import warnings

from transformers.utils import logging

from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.testing import adapters


def main(names):
    failed, families = 0, adapters.families()
    if strange := set(names) - families.keys():
        sys.exit(f"no such family: {', '.join(sorted(strange))}")
    for name, bound in families.items():
        if names and name not in names:
            continue
        if reason := adapters.unmeasured(bound):
            print(f"{name:16} {reason}")
            continue
        for backend in adapters.BACKENDS:
            for part, direction, door, result in adapters.exchanges(bound, backend):
                apart = f"{result:.1e}" if isinstance(result, float) else f"refused {result[:100]}"
                wrong = isinstance(result, float) and not result <= FP32
                failed += wrong
                print(f"{name:16} {backend:6} {part:17} {direction} {door:25} {apart}{' DIFFERS' * wrong}", flush=True)
    print(f"{failed} differ" if failed else "all equal or refused")
    return bool(failed)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    sys.exit(main(sys.argv[1:]))
