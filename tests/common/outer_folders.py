"""Tiny models of transformers' outer classes, as the vision-language checkpoints are published that examples name."""

import torch
import transformers as T

TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 28,
    "patch_size": 14,
}
MLA = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
EXPERTS = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}


def aria():
    text = T.AriaTextConfig(**TEXT, head_dim=8, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1)
    vision = T.Idefics3VisionConfig(**VISION)
    return T.AriaForConditionalGeneration, T.AriaConfig(text_config=text.to_dict(), vision_config=vision.to_dict())


def llama4():
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 48}
    text = T.Llama4TextConfig(**TEXT, head_dim=8, interleave_moe_layer_step=2, **sizes)
    widths = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16}
    vision = T.Llama4VisionConfig(**VISION, **widths)
    config = T.Llama4Config(text_config=text.to_dict(), vision_config=vision.to_dict())
    return T.Llama4ForConditionalGeneration, config


def mistral4(tie=False):
    fields = TEXT | MLA | EXPERTS | {"num_key_value_heads": 4, "n_group": 1, "topk_group": 1}
    text = T.Mistral4Config(**fields, first_k_dense_replace=1)
    vision = T.PixtralVisionConfig(**VISION, head_dim=8)
    both = {"text_config": text.to_dict(), "vision_config": vision.to_dict()}
    return T.Mistral3ForConditionalGeneration, T.Mistral3Config(**both, tie_word_embeddings=tie)


def mistral4_tied():
    return mistral4(tie=True)


def llava():
    both = {"text_config": T.LlamaConfig(**TEXT).to_dict(), "vision_config": T.CLIPVisionConfig(**VISION).to_dict()}
    return T.LlavaForConditionalGeneration, T.LlavaConfig(**both)


LAYOUTS = {
    "aria": (aria, "AriaTextForCausalLM"),
    "llama4": (llama4, "Llama4ForCausalLM"),
    "mistral4": (mistral4, "Mistral4ForCausalLM"),
    "mistral4, tied": (mistral4_tied, "Mistral4ForCausalLM"),
    "llava": (llava, "LlamaForCausalLM"),
}


def build(make, tie=None, tie_text=None):
    """A randomised outer model, fp32, eager, in eval mode; tie, tie_text: flags of the outer config and the text's."""
    cls, config = make()
    if tie is not None:
        fields = config.to_dict()
        fields["text_config"]["tie_word_embeddings"] = tie_text
        config = type(config)(**fields | {"tie_word_embeddings": tie})
    torch.manual_seed(0)
    model = cls._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.add_(torch.randn_like(parameter) * scale)
    return model


def text_logits(model, ids):
    """Of the outer model on text alone, by way of its language model: its own forward wants images in some releases."""
    inner = getattr(model, "language_model", None) or model.model.language_model
    with torch.no_grad():
        out = inner(input_ids=ids)
        return out.logits if hasattr(out, "logits") else model.lm_head(out.last_hidden_state)
