"""Which implementation of each primitive a model is built with; its own module has their table, `FORMS`."""

from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from nemo_automodel.components.models.common import kernels

CHOICES = {
    "attn": ("auto", "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"),
    "linear": ("auto", "torch", "te"),
    "rms_norm": ("auto", "torch", "torch_fused", "triton", "liger", "te"),
    "glu": ("auto", "torch", "triton", "liger"),
    "rope": ("auto", "torch", "triton", "te"),
    "conv": ("auto", "torch", "stepwise", "causal_conv1d"),
    "scan": ("auto", "torch", "stepwise"),
    "delta_rule": ("auto", "torch", "stepwise", "fla"),
    "projections": ("auto", "packed", "split"),
    "cross_entropy": ("auto", "full", "chunked"),
    "experts": ("auto", "torch", "loop", "grouped_mm", "triton", "blockwise", "simd", "te"),
    "dispatcher": ("auto", "torch", "deepep"),
    "gate_precision": (None, "float32", "float64"),
}
NOT_WIRED = {"te": "Transformer Engine", "deepep": "DeepEP"}
OF_TRANSFORMERS = {"eager": "loop", "grouped_mm": "grouped_mm", "batched_mm": "torch"}  # experts_implementation
KERNELS = ("linear", "rms_norm", "glu", "rope", "conv", "scan", "delta_rule", "dispatcher")
NEEDS = {  # value: the module that it imports, the package that has it, the extra that brings it (library/needs.py)
    "triton": ("triton", "triton", "triton"),
    "liger": ("liger_kernel", "liger-kernel", "liger"),
    "causal_conv1d": ("causal_conv1d", "causal-conv1d", "conv"),
    "fla": ("fla", "flash-linear-attention", "fla"),
}
# What `auto` takes on a card where it is installed and fits; else PyTorch's. Our own kernels must be asked for until a
# card has run them (ADR 33).
ON_A_CARD = {"conv": "causal_conv1d", "delta_rule": "fla"}


@dataclass(frozen=True)
class BackendConfig:
    """`auto` picks the best that is installed and applicable, once, when the model is built.

    attn: attention implementation (auto: the `attn_implementation` of from_pretrained).
    linear, rms_norm, rope: kernels; `torch_fused` is PyTorch's rms_norm, which rounds once.
    glu: gated activations, of MLPs and of experts.
    conv: short convolutions; `stepwise` is their specification, `causal_conv1d` the package's kernel on a GPU.
    scan: sums over the past with a decay; `torch` is chunks of matrix products, `stepwise` their specification.
    delta_rule: gated delta nets; `stepwise` is their specification, `fla` the kernels of flash-linear-attention.
    projections: q, k, v and gate, up as one matrix each (`packed`) or apart; auto is split: names in
        memory are then those of transformers, by which adapters and plans address modules.
    cross_entropy: whether training materialises the logits of a whole batch (auto: not for large vocabularies).
    experts: of a mixture; `torch` is PyTorch's products by what suits the device, auto also tries `simd` on a CPU.
    dispatcher, gate_precision: of mixtures of experts.
    enable_hf_state_dict_adapter: whether disk names are translated at all.
    Raises ValueError for a value that does not exist. `resolved` raises for one that cannot run: ImportError where a
    package is not installed, RuntimeError where torch sees no card, NotImplementedError where nothing of ours calls it.
    """

    attn: str = "auto"
    linear: str = "auto"
    rms_norm: str = "auto"
    glu: str = "auto"
    rope: str = "auto"
    conv: str = "auto"
    scan: str = "auto"
    delta_rule: str = "auto"
    projections: str = "auto"
    cross_entropy: str = "auto"
    experts: str = "auto"
    dispatcher: str = "auto"
    gate_precision: str | None = None
    enable_hf_state_dict_adapter: bool = True

    def __post_init__(self):
        for field, known in CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise ValueError(f"backend.{field}: {value!r} is not one of {', '.join(map(str, known))}")

    @classmethod
    def of(cls, backend):
        """A BackendConfig from None (all auto), from a mapping of fields (as in YAML), or itself."""
        if backend is None:
            return cls()
        return backend if isinstance(backend, cls) else cls(**backend)

    @property
    def packed(self):
        """Whether projections are packed: where it is asked for."""
        return self.projections == "packed"

    def resolved(self):
        """What a model is built with: every `auto` decided, but those of attn, cross_entropy and experts, which follow
        the call, and where there are a card and a package for it: tensors on the card get the package's."""
        for field in (*KERNELS, "experts"):
            if (value := getattr(self, field)) in NOT_WIRED:
                raise NotImplementedError(
                    f"backend.{field}: {value!r}: generated models do not use {NOT_WIRED[value]} yet; use 'torch'"
                )
            require(field, value)
        chosen = {field: _decided(field) for field in KERNELS if getattr(self, field) == "auto"}
        return replace(self, projections="packed" if self.packed else "split", **chosen)


def require(field, name):
    """Raises ImportError or RuntimeError where a value of a field cannot run here."""
    if name not in NEEDS:
        return
    module, package, extra = NEEDS[name]
    if find_spec(module) is None:
        raise ImportError(
            f"backend.{field}: {name!r} needs the package {package} (extra {extra!r}), which is not installed: "
            f"pip install {package}, or use 'torch'"
        )
    if not has_card():
        raise RuntimeError(f"backend.{field}: {name!r} needs a card, and torch sees none: use 'torch' or 'auto'")


def has_card():
    return torch.cuda.is_available() or kernels.interpreted()


def _decided(field):
    is_there = field in ON_A_CARD and find_spec(NEEDS[ON_A_CARD[field]][0]) is not None and has_card()
    return "auto" if is_there else "torch"


def offered(field, name, form, why_not, plain):
    """`form`, where `why_not` of its arguments is None, and elsewhere a ValueError with the reason. A compiler gets
    `plain`, which it fuses by itself."""

    def chosen(*given, **options):
        if torch.compiler.is_compiling():
            return plain(*given, **options)
        if reason := why_not(*given, **options):
            raise ValueError(f"backend.{field}: {name!r}: {reason}; use 'torch' or 'auto'")
        return form(*given, **options)

    return chosen


def with_experts(kwargs):
    """Keywords in which transformers' `experts_implementation` is `backend.experts`; of several, that of the text.

    Raises ValueError for a name that has no counterpart, or that contradicts the backend.
    """
    kwargs = dict(kwargs)
    named = kwargs.pop("experts_implementation", None)
    named = named.get("text_config", named.get("")) if isinstance(named, dict) else named
    if named is None:
        return kwargs
    if named not in OF_TRANSFORMERS:
        raise ValueError(f"experts_implementation: {named!r} is not one of {', '.join(OF_TRANSFORMERS)} here")
    backend = BackendConfig.of(kwargs.get("backend"))
    chosen = OF_TRANSFORMERS[named]
    if backend.experts not in ("auto", chosen):
        raise ValueError(
            f"experts_implementation {named!r} is backend.experts {chosen!r}, and the backend says otherwise"
        )
    return {**kwargs, "backend": replace(backend, experts=chosen)}


def refuse_packed(backend, place):
    """For weights that stay quantised. Raises ValueError for packed projections: quantisers replace linear layers, and
    would leave the packed matrices as they are. place: the checkpoint."""
    if BackendConfig.of(backend).packed:
        raise ValueError(
            f"{place}: backend.projections 'packed': "
            "quantisers leave packed projections unquantised; use 'split' or 'auto'"
        )
