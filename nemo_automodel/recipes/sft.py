"""TRL's SFTTrainer over chat data: it packs and collates, and its loss is the model's own (ADR 30)."""

from typing import Any

from transformers import PreTrainedModel, Trainer
from trl import SFTConfig, SFTTrainer

from nemo_automodel.recipes.chat import ChatOptions
from nemo_automodel.recipes.quantization import is_quantised
from nemo_automodel.recipes.sharding import ShardedTrainer

# transformers' own, where TRL's are otherwise: a recipe means the same with any data.
DEFAULTS = {"logging_steps": 500, "bf16": False}
RECOMPUTES = [name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(SFTConfig, name)]


def sft_arguments(settings: dict[str, Any], options: ChatOptions) -> SFTConfig:
    """TRL's arguments of TrainingArguments' fields and the section `chat`. Examples are cut before they come here."""
    packed = {"packing": True, "max_length": options.max_length} if options.packing else {"max_length": None}
    recomputes = {} if settings.keys() & set(RECOMPUTES) else {RECOMPUTES[0]: False}
    return SFTConfig(**{**DEFAULTS, **recomputes, **settings, **packed})


class ChatTrainer(SFTTrainer):
    """Trains on rows of ids and labels, packed where its arguments say so.

    TRL puts a head of its own in place of the model's, which knows neither a family's scale of logits nor the balance
    of experts; it writes its token for padding into model and tokenizer, rounds adapters of quantised models, and
    tells its makers about each run. None of that is done here.
    """

    def __init__(self, model: PreTrainedModel, *args: Any, processing_class: Any, **kwargs: Any) -> None:
        configs = model.config.get_text_config(), model.generation_config
        padding = [(config, config.pad_token_id) for config in configs], processing_class.pad_token
        adapters = _trained(model) if is_quantised(model) else []
        super().__init__(model, *args, processing_class=processing_class, **kwargs)
        for config, token in padding[0]:
            config.pad_token_id = token
        processing_class.pad_token = padding[1]
        for parameter, values in adapters:
            parameter.data = values
        self.processing_class = None  # a callback saves it

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss. Without a cache, as positions that start anew then tell that an example begins."""
        return Trainer.compute_loss(self, model, {**inputs, "use_cache": False}, return_outputs, num_items_in_batch)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: the recipe says what was trained."""

    def _send_telemetry(self) -> None:
        """Nothing: data go to no service that nobody named."""


class ShardedChatTrainer(ShardedTrainer, ChatTrainer):
    """The same over a sharded model."""


def _trained(model: Any) -> list[tuple[Any, Any]]:
    return [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
