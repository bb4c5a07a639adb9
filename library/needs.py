"""What both builds of the library have in common: the generator's version, what they need, and what is compiled."""

import re
from pathlib import Path

from setuptools import Extension
from setuptools.command.sdist import sdist

SOURCE = Path(__file__).resolve().parents[1] / "codegen" / "__init__.py"
VERSION = re.findall(r'__version__ = "(.+)"', SOURCE.read_text(encoding="utf-8"))[0]
NEEDS = [
    f"automodel-codegen=={VERSION}",  # what it proves and what is generated fit together
    "accelerate>=1.10",
    "rich>=13.7",
    "safetensors>=0.5",
    "torch>=2.10",
    "transformers>=5.17,<5.25",
]
EXTRAS = {
    "testing": ["peft", "pillow", "pytest", "tokenizers"],  # the suite that every generated model must pass
    "images": ["pillow"],  # processors of images, to fine-tune vision-language models
    "plots": ["matplotlib", "tensorboard"],  # a run's losses as a PNG, and its log in TensorBoard (ADR 29)
    # Chat data in recipes (ADR 30), and one more door in the matrix of adapters (`python -m nemo_automodel.testing`).
    "trl": ["trl>=1.16,<2"],
    "qlora": ["bitsandbytes>=0.50", "peft"],  # a recipe's section `quantization`
    # Kernels of cards: each is a value of a backend's field, beside PyTorch's (`common/backend.py`, docs/backends.md).
    "triton": ["triton>=3.2"],  # for our own (ADR 33); PyTorch for cards brings it
    "liger": ["liger-kernel>=0.6"],
    "conv": ["causal-conv1d>=1.4"],
    "fla": ["flash-linear-attention>=0.4"],
    "flash": ["flash-attn>=2.7"],  # read by transformers
}
KERNELS = "few_rows", "few_tokens", "one_query", "products", "rms_norm", "rope", "silu_product", "swiglu"
HEADERS = "avx2", "avx512", "blocks", "few_rows", "lanes", "swiglu", "vectors"
PROCESSORS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512bf16"],
    "avx2": ["-mavx2", "-mfma"],
}
CPP = "../nemo_automodel/components/models/common/cpp"


def extensions(package):
    """Kernels of a CPU, once for each kind of processors; at run time the best is taken that the processor has. Where
    one cannot be built, pip says so and goes on, and PyTorch's are used."""
    return [
        Extension(
            f"{package}.components.models.common._simd_{name}",
            sources=[f"{CPP}/{kernel}.cpp" for kernel in KERNELS],
            depends=[f"{CPP}/{header}.h" for header in HEADERS],
            optional=True,
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", *flags, "-fopenmp"],
            extra_link_args=["-fopenmp"],
        )
        for name, flags in PROCESSORS.items()
    ]


class NoSources(sdist):
    """An archive of this folder alone would lack the packages, which lie beside it."""

    def run(self):
        raise SystemExit(f"{Path.cwd().name}/ has no archive of sources: build a wheel with `pip wheel --no-deps`")
