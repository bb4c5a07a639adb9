"""What a model has, in words for the documentation: read off the plan, so that it is what the tests prove."""

from codegen.plan.types import ModelPlan

ROTATIONS = {"rotate_pairs": "interleaved RoPE", None: "RoPE"}


def features(plan: ModelPlan) -> tuple[str, ...]:
    """Short phrases, attention first."""
    found: list[str] = []
    found += ["multi-head latent attention"] if plan.latents else []
    for one in plan.attentions:
        found.append("multi-head attention" if one.heads == one.kv_heads else "grouped-query attention")
        names = {item.name for item in one.attributes}
        found += ["sliding window"] if "window" in names else []
        found += ["chunked attention"] if "chunk" in names else []
        found += ["soft-capped scores"] if "softcap" in names else []
        found += [f"QK-norm ({one.qk_norm.place.replace('_', ' ')})"] if one.qk_norm else []
        found += ["attention sinks"] if one.sinks else []
        found += ["clipped projections"] if one.clip else []
        found += ["fused query_key_value on disk"] if one.fused else []
    for one in (*plan.latents, *plan.attentions):
        if one.rotation:
            found.append(ROTATIONS.get(one.rotation.rotate, "RoPE, layout by config"))
            found += ["layers without positions"] if one.rotation.some_layers else []
    inputs = " ".join(item.code for item in plan.body.inputs)
    found += ["ALiBi"] if "Alibi(" in inputs else []
    found += ["learned positions"] if "config.max_position_embeddings" in inputs and "RotaryTable" not in inputs else []
    found += ["scaled embeddings"] if "ScaledEmbedding(" in inputs else []
    parts = " ".join(item.code for layer in plan.layers for item in layer.parts)
    found += _channels(plan, parts)
    found += ["LayerNorm"] if "LayerNorm(" in parts else ["RMSNorm"]
    found += ["transformed logits"] if plan.head.logits else []
    return tuple(dict.fromkeys(found))


def _channels(plan: ModelPlan, parts: str) -> list[str]:
    """The kinds of MLP; of experts, how tokens are routed to them."""
    kinds = {one.kind for one in plan.mlps}
    found = ["plain MLP"] if "plain" in kinds else []
    found += ["gated MLP"] if "gated" in kinds or "CombinedGateUpMLP(" in parts else []
    for moe in plan.moes:
        given = dict(moe.fields)
        score = given.get("score_func", "'softmax'")
        found.append("mixture of experts")
        found.append(f"{score[1:-1]} routing" if score[:1] in "'\"" else "routing by config")
        found += ["limited groups of experts"] if "n_expert_groups" in given else []
        found += ["correction bias"] if "correction_bias" in given else []
        found += ["shared experts"] if "shared_expert_inter_dim" in given else []
    return found
