"""The suite that every generated model must pass. A generated test class binds `ModelContract` to one model, or
`MixtureContract` where it has experts."""

import pytest

PARTS = (
    "asserting",
    "checkpoint",
    "strictness",
    "numerics",
    "processors",
    "inputs",
    "generation",
    "training",
    "ecosystem",
    "interface",
    "experts",
    "vision",
    "wrong_images",
)
for part in PARTS:
    pytest.register_assert_rewrite(f"nemo_automodel.testing.{part}")

from nemo_automodel.testing.checkpoint import CheckpointContract  # noqa: E402
from nemo_automodel.testing.ecosystem import EcosystemContract  # noqa: E402
from nemo_automodel.testing.experts import ExpertsContract  # noqa: E402
from nemo_automodel.testing.generation import GenerationContract  # noqa: E402
from nemo_automodel.testing.inputs import InputsContract  # noqa: E402
from nemo_automodel.testing.interface import InterfaceContract  # noqa: E402
from nemo_automodel.testing.numerics import NumericsContract  # noqa: E402
from nemo_automodel.testing.processors import ProcessorContract  # noqa: E402
from nemo_automodel.testing.strictness import StrictnessContract  # noqa: E402
from nemo_automodel.testing.training import TrainingContract  # noqa: E402
from nemo_automodel.testing.vision import VisionContract  # noqa: E402
from nemo_automodel.testing.wrong_images import WrongImagesContract  # noqa: E402


class ModelContract(
    CheckpointContract,
    StrictnessContract,
    NumericsContract,
    InputsContract,
    GenerationContract,
    TrainingContract,
    EcosystemContract,
    InterfaceContract,
):
    """Everything that a generated model promises."""


class MixtureContract(ModelContract, ExpertsContract):
    """The same of a model with mixtures of experts."""


class ImageTextContract(VisionContract, WrongImagesContract, ProcessorContract, ModelContract):
    """The same of a model that takes images beside text."""


class ImageTextMixtureContract(ImageTextContract, ExpertsContract):
    """The same where the text model has mixtures of experts."""


__all__ = ["ImageTextContract", "ImageTextMixtureContract", "MixtureContract", "ModelContract"]
