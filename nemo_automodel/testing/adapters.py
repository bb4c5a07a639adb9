"""LoRA adapters between our class and transformers', both ways, through every door of peft and transformers.

`python -m nemo_automodel.testing [FAMILY ...]` prints the whole matrix; the contract holds a part of it.
"""

import copy
import re
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import walk_tb

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils import transformers_weight_conversion as rewriting
from tokenizers import Tokenizer, models
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.memory import gives_one_tensor
from nemo_automodel.parity.newer import NewerFamily, refuse_newer
from nemo_automodel.parity.tolerances import FP32

LINEAR = (nn.Linear, Conv1D)
STRENGTH = 0.1  # standard deviation of an adapter's weights
BACKENDS = ("split", "packed")
LOST = "by transformers: its own file does not load either"
PARTS = ("attention", "shared experts", "routers", "experts", "all linear layers")


def parts(model):
    """{part: keywords of LoraConfig} of a model of transformers: what of it an adapter may be on."""
    layers, linear = layer_modules(model), linear_layers(model)
    of_experts = [(name, module) for name, module in layers if not isinstance(module, nn.Conv1d)]
    stacked = [(name, p) for name, one in of_experts for p, v in one.named_parameters(recurse=False) if v.dim() == 3]
    mixtures = {name.rpartition(".")[0].rpartition(".")[0] for name, _ in stacked}
    mixtures |= {name.rpartition(".experts")[0] for name, _ in layers if name.endswith(".experts")}
    in_mixture = [name for name in linear if any(name.startswith(f"{path}.") for path in mixtures)]
    groups = {
        "attention": [name for name in linear if of_mixer(name) and not is_rewritten(model, name)],
        "shared experts": [name for name in in_mixture if "shared" in name and not name.endswith("_gate")],
        "routers": [name for name in in_mixture if re.search(r"\.(wg|layer|router|gate|shared_expert_gate)$", name)],
    }
    found = {part: {"target_modules": names} for part, names in groups.items() if names}
    found["all linear layers"] = {"target_modules": linear if unheard(model) else "all-linear"}
    if stacked:
        targets = sorted({f"{name.rpartition('.')[2]}.{parameter}" for name, parameter in stacked})
        found["experts"] = {"target_modules": [], "target_parameters": targets}
    return found


def target(path):
    """What LoRA configs of the family call a matrix: its path from its last name on, since numbers are layers."""
    return re.search(r"[^.]*[^.\d][^.]*(\.\d+)*$", path)[0]


def layer_modules(model):
    return [(name, module) for name, module in model.named_modules() if re.search(r"\.\d+\.", name)]


def linear_layers(model):
    """Names of what peft can wrap."""
    linear = [(name, module) for name, module in layer_modules(model) if isinstance(module, LINEAR)]
    return [name for name, module in linear if gives_one(module) and is_allowed(model, name)]


def gives_one(module):
    """Llama 4's router is a linear layer that gives two, which peft cannot wrap."""
    return isinstance(module, Conv1D) or gives_one_tensor(module)


def is_allowed(model, name):
    """peft takes no adapters on output projections of models that it knows as Mamba's, whose classes do not hear those
    on projections of steps."""
    if name in unheard(model):
        return False
    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, name.rpartition(".")[2])
    except ValueError:
        return False
    return True


def of_mixer(name):
    return re.search("attn|(attention|conv|mamba|mixer|temporal)[^.]*[.][^.]*$", name)


def is_rewritten(model, name):
    """peft takes targets that are called as matrices of experts were (AFMoE's gate of attention) for those."""
    base = rewriting._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type)
    return name.rpartition(".")[2] in rewriting._MOE_TARGET_MODULE_MAPPING.get(base, {})


@lru_cache(maxsize=4)
def unheard(model):
    """Names of modules of which a module that is called reads the weight alone: nothing calls an adapter there."""
    heard, hooks = set(), []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: heard.add(name)))
    with torch.no_grad():
        model(input_ids=torch.tensor([[3, 4, 5]]))
    for hook in hooks:
        hook.remove()
    linear = [name for name, module in layer_modules(model) if isinstance(module, LINEAR)]
    return {name for name in linear if name not in heard and name.rpartition(".")[0] in heard}


def settings(keywords):
    return LoraConfig(r=3, task_type="CAUSAL_LM", **copy.deepcopy(keywords))


def stirred(model):
    """The model with adapters that matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.normal_(std=STRENGTH)
    return model.eval()


class Doors:
    """The ways to make an adapter on our model, and to load one; `bound` is a generated test class."""

    def __init__(self, bound, backend):
        self.bound, self.backend = bound, backend
        self.options = {"backend": {"projections": backend}, "attn_implementation": bound.attention}

    def model(self):
        return copy.deepcopy(self.bound.ours(backend=self.backend))

    def loaded(self, folder=None, **options):
        return NeMoAutoModelForCausalLM.from_pretrained(folder or self.bound.given().folder, **self.options, **options)

    @property
    def making(self):
        doors = {
            "peft_config=": lambda made: self.loaded(peft_config=made),
            "get_peft_model": lambda made: get_peft_model(self.model(), made),
            "add_adapter": self._added,
        }
        return doors | ({"SFTTrainer": self._trainer} if find_spec("trl") else {})

    @property
    def loading(self):
        return {
            "PeftModel.from_pretrained": lambda folder: PeftModel.from_pretrained(self.model(), folder),
            "load_adapter": self._adapted,
            "from_pretrained": self._folder,
        }

    def _added(self, made):
        model = self.model()
        model.add_adapter(made)
        return model

    def _adapted(self, folder):
        model = self.model()
        model.load_adapter(folder)
        return model

    def _folder(self, folder):
        """Base and adapter by the adapter's folder."""
        return self.loaded(folder)

    def _trainer(self, made):
        from datasets import Dataset
        from datasets.table import InMemoryTable
        from trl import SFTConfig, SFTTrainer

        table = InMemoryTable.from_pydict({"input_ids": [[3, 4, 5, 6]]})
        data = Dataset(table, fingerprint="words")  # its own hashes what not every pyarrow can
        with TemporaryDirectory() as folder:
            arguments = SFTConfig(
                output_dir=folder, report_to=[], use_cpu=True, bf16=False, dataset_kwargs={"skip_prepare_dataset": True}
            )
            tools = {"train_dataset": data, "data_collator": list, "processing_class": tokenizer()}
            return SFTTrainer(self.model(), arguments, peft_config=made, **tools).model


def unmeasured(bound):
    """Why a family has no place in the matrix, or None."""
    try:
        refuse_newer(bound.config_class)
    except NewerFamily as error:
        return str(error)
    same = "transformers has no such type: its contract compares adapters with the reference's"
    return None if has_counterpart(bound) else same


def has_counterpart(bound):
    """Whether transformers has a class for the family's model type: peft rewrites targets by that type."""
    reference = getattr(bound.given().model, "config", None)
    return bound.in_transformers and reference.model_type == bound.config().model_type


def tokenizer():
    """One that knows a few words, as SFTTrainer asks for one."""
    words = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "word"])}
    made = Tokenizer(models.WordLevel(words, unk_token="word"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def exchanges(bound, backend, wanted=None):
    """(part, direction, door, how far the logits are apart or why it was refused) of one family on one backend.

    wanted: the part and the doors to look at; None: all.
    """
    doors, reference = Doors(bound, backend), bound.given().model
    for part, keywords in parts(reference).items():
        if wanted and part not in wanted:
            continue
        for door, make in doors.making.items():
            if not wanted or door in wanted[part]:
                result = _measured(bound, lambda f, m=make, k=keywords: _given(bound, m, k, f))
                lost = isinstance(result, float) and result > FP32 and _loses_its_own(bound, keywords)
                yield part, "ours -> theirs", door, LOST if lost else result
        for door, load in doors.loading.items():
            if not wanted or door in wanted[part]:
                yield part, "theirs -> ours", door, _measured(bound, partial(_got, bound, load, keywords))


def _given(bound, make, keywords, folder):
    """Logits of ours with an adapter, and of theirs with its file."""
    ours = stirred(make(settings(keywords)))
    ours.save_pretrained(folder)
    return ours, PeftModel.from_pretrained(copy.deepcopy(bound.given().model), folder)


def _loses_its_own(bound, keywords):
    """Whether transformers' class does not get back what it wrote itself: Laguna's renaming of shared experts on disk
    also takes the names that they have in memory."""
    reference = bound.given().model

    def again(folder):
        theirs = stirred(get_peft_model(copy.deepcopy(reference), settings(keywords)))
        theirs.save_pretrained(folder)
        return theirs, PeftModel.from_pretrained(copy.deepcopy(reference), folder)

    apart = _measured(bound, again)
    return isinstance(apart, float) and apart > FP32


def _got(bound, load, keywords, folder):
    theirs = stirred(get_peft_model(copy.deepcopy(bound.given().model), settings(keywords)))
    for made in theirs.peft_config.values():
        made.base_model_name_or_path = str(bound.given().folder)
    theirs.save_pretrained(folder)
    return load(folder), theirs


def _measured(bound, exchange):
    """How far two models are apart, where the adapter matters; where one is refused, by which package and why."""
    try:
        with TemporaryDirectory() as folder:
            one, other = exchange(folder)
            one, other = (bound.logits(model.eval(), bound.batch()) for model in (one, other))
    except Exception as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        package = frame.f_globals["__name__"].partition(".")[0]
        return f"by {package}: {type(error).__name__}: {error}".split("\n")[0]
    plain = bound.logits(bound.given().model, bound.batch())
    assert distance(one, plain) > 1e-2 or distance(other, plain) > 1e-2, "the adapter changes nothing"
    return distance(one, other)


def families():
    """{name: an instance of its generated test class}."""
    found = {}
    for path in sorted((Path(__file__).parents[1] / "unit_tests/models").glob("*/test_*.py")):
        module = import_module(f"tests.unit_tests.models.{path.parent.name}.{path.stem}")
        found[path.parent.name] = next(cls() for name, cls in vars(module).items() if name.startswith("Test"))
    return found
