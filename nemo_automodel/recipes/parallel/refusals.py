"""What cannot be parallel, or not together, with the reason, at the key of the recipe and before anything is loaded."""

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from nemo_automodel.components.models.common.attention import Attention
from nemo_automodel.components.models.common.causal_lm import DecoderModel
from nemo_automodel.components.models.common.mask_kinds import TokenMixer
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.recipes.mistakes import refuse
from nemo_automodel.recipes.parallel.outline import outline
from nemo_automodel.recipes.parallel.sizes import Sizes, sizes_of
from nemo_automodel.recipes.parallel.stages import around_layers, layers_of
from nemo_automodel.recipes.parallel.tensors import keeps_columns, styles_of
from nemo_automodel.recipes.targets import AUTO_MODELS, NOTHING_ELSE, TARGET, Allowed, is_of_chat, is_of_images


def check_parallel(recipe: dict[str, Any], arguments: TrainingArguments, allowed: Allowed = NOTHING_ELSE) -> None:
    """Raises RecipeError with every reason why the section `parallel` cannot work for this recipe."""
    sizes = sizes_of(recipe, arguments.world_size)
    if sizes is not None:
        refuse(_without_plan(recipe))
    if sizes is None or sizes.only_data:
        return
    axes = [name for name in ("tp", "pp", "cp", "ep") if getattr(sizes, name) > 1]
    refuse(f"parallel.{axes[0]}: {reason}" for reason in _of_recipe(recipe, arguments))
    model = outline(recipe, allowed)
    if not isinstance(model.base_model, DecoderModel):
        refuse([f"parallel.{axes[0]}: is for generated models of text, and this is a {type(model).__name__}"])
    refuse(f"parallel.{axis}: {reason}" for axis in axes for reason in OF_AXIS[axis](model, sizes, arguments))


def _without_plan(recipe: dict[str, Any]) -> Iterator[str]:
    """What several processes train by FSDP2 alone."""
    if is_of_chat(recipe):
        yield "parallel: conversations are trained on sharded models alone: leave out the section parallel"
    for name in ("quantization", "fp8", "compile"):
        if name in recipe:
            yield f"parallel: does not go with the section {name}: leave out either"


def _of_recipe(recipe: dict[str, Any], arguments: TrainingArguments) -> Iterator[str]:
    """What goes with `dp_shard` and `dp_replicate` alone."""
    if is_of_images(recipe["model"]):
        yield "is for models of text alone: towers have no plan"
    elif not str(recipe["model"].get(TARGET)).startswith(AUTO_MODELS[0]):
        yield f"is for generated models: take {AUTO_MODELS[0]} in model.{TARGET}"
    if "peft" in recipe or "peft_config" in recipe["model"]:
        yield "adapters do not know of cut or spread layers: leave out the section peft, or take dp_shard alone"
    if not getattr(arguments, "average_tokens_across_devices", True):
        yield "trainer.average_tokens_across_devices: losses are sums over the labels of all processes; leave it out"
    if "freeze" in recipe and recipe["parallel"].get("pp", 1) > 1:
        yield "a stage of frozen layers alone has no gradient to send: leave out the section freeze"
    for name in ("label_smoothing_factor", "use_liger_kernel", "neftune_noise_alpha"):
        if getattr(arguments, name, None):
            yield f"trainer.{name} works on whole models alone; leave it out"


def _of_tensors(model: PreTrainedModel, sizes: Sizes, arguments: TrainingArguments) -> Iterator[str]:
    try:
        styles = styles_of(model, sizes.tp)
    except ValueError as error:
        yield str(error)
        return
    if not any(name.startswith(f"{model.base_model_prefix}.{model.base_model._layers_name}.") for name in styles):
        yield f"{type(model.config).__name__} declares no base_model_tp_plan for layers of this kind"
    if left := _whole_within_cut(model, styles):
        yield f"the plan cuts what is around {left}, and says nothing of it"
    cut = [module for name, module in model.named_modules() if _is_cut_by_heads(name, module, styles)]
    heads = _key_value_heads(model) if cut else sizes.tp
    if heads % sizes.tp:
        yield f"{sizes.tp} does not divide the {heads} heads of keys and values"
    if any(module.sinks is not None for module in cut):
        yield "sinks of heads cannot be cut"
    if cut and getattr(model.base_model, "alibi", None) is not None:
        yield "ALiBi's biases of heads cannot be cut"


def _whole_within_cut(model: PreTrainedModel, styles: dict[str, Any]) -> str | None:
    """A parameter beside projections that are cut: it sees columns of this process alone, and so does its gradient."""
    blocks = {name.rpartition(".")[0] for name, style in styles.items() if keeps_columns(style)}
    for name, _ in model.named_parameters():
        owner, is_styled = name.rpartition(".")[0], any(name.startswith(f"{path}.") for path in styles)
        if not is_styled and any(owner == block or owner.startswith(f"{block}.") for block in blocks if block):
            return name
    return None


def _key_value_heads(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def _is_cut_by_heads(name: str, module: Any, styles: dict[str, Any]) -> bool:
    inner = [style for path, style in styles.items() if path.startswith(f"{name}.")]
    return isinstance(module, Attention) and any(map(keeps_columns, inner))


def _of_experts(model: PreTrainedModel, sizes: Sizes, arguments: TrainingArguments) -> Iterator[str]:
    mixtures = [module for module in model.modules() if isinstance(module, MoE)]
    if not mixtures:
        yield f"{type(model).__name__} has no experts to spread; take dp_shard"
    for count in sorted({mixture.routed_experts.num_experts for mixture in mixtures}):
        if count % sizes.ep:
            yield f"{sizes.ep} does not divide the {count} experts of a layer"


def _of_stages(model: PreTrainedModel, sizes: Sizes, arguments: TrainingArguments) -> Iterator[str]:
    base, config = model.base_model, model.config.get_text_config()
    if base._layers_name not in base._pp_plan:
        yield f"{type(model.config).__name__} declares no base_model_pp_plan"
        return
    if model.all_tied_weights_keys:
        yield "embedding and head are tied, and stand in the first and in the last stage; take dp_shard"
    if len(base.decoder_layers) < sizes.pp:
        yield f"{len(base.decoder_layers)} layers do not make {sizes.pp} stages"
    yield from _apart(model, sizes)
    if arguments.per_device_train_batch_size < sizes.pp:
        yield (
            f"trainer.per_device_train_batch_size is {arguments.per_device_train_batch_size}, and every text is a "
            f"micro-batch: write {sizes.pp} or more"
        )
    if getattr(config, "output_router_logits", False):
        yield "the load-balancing loss is of the routers of all layers at once: leave out moe.aux_loss_coeff"


def _apart(model: PreTrainedModel, sizes: Sizes) -> Iterator[str]:
    """Parts of no stage, or of several."""
    base, before_and_behind = model.base_model, [name for names in around_layers(model) for name in names]
    placed = [f"{model.base_model_prefix}.{base._layers_name}", *before_and_behind]
    left = [name for name, _ in model.named_parameters() if not name.startswith(tuple(f"{part}." for part in placed))]
    if left:
        yield f"the plan of stages has no place for {', '.join(left)}"
    owners: dict[int, int] = {}
    for stage in range(sizes.pp):
        for index in layers_of(stage, sizes.pp, len(base.decoder_layers)):
            for parameter in base.decoder_layers[index].parameters():
                if owners.setdefault(id(parameter), stage) != stage:
                    yield f"layers of several stages share parameters (layer {index})"
                    return


def _of_sequences(model: PreTrainedModel, sizes: Sizes, arguments: TrainingArguments) -> Iterator[str]:
    base, config = model.base_model, model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        yield f"attention is gathered for sdpa alone, and the model has {config._attn_implementation!r}"
    mixers = [module for module in model.modules() if isinstance(module, TokenMixer)]
    states = sorted({type(mixer).__name__ for mixer in mixers if not isinstance(mixer, Attention)})
    if states:
        yield f"a state goes through the whole sequence: {', '.join(states)} cannot read pieces"
    attentions = [mixer for mixer in mixers if isinstance(mixer, Attention)]
    for what in ("softcap", "chunk", "sinks"):
        if any(getattr(mixer, what) is not None for mixer in attentions):
            yield f"attention with {what} is not made for gathered keys"
    if getattr(base, "alibi", None) is not None:
        yield "ALiBi's biases are not made for gathered keys"
    if base.switching_tables:
        yield "the rotary table depends on the length of the whole sequence, which no piece knows"
    if getattr(config, "output_router_logits", False):
        yield "the load-balancing loss is of all tokens at once: leave out moe.aux_loss_coeff"


OF_AXIS = {"tp": _of_tensors, "ep": _of_experts, "pp": _of_stages, "cp": _of_sequences}
