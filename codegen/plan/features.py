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
        found += ["clipped projections"] if one.clip else []
        if one.rotation:
            found.append(ROTATIONS.get(one.rotation.rotate, "RoPE, layout by config"))
            found += ["layers without positions"] if one.rotation.some_layers else []
        found += ["fused query_key_value on disk"] if one.fused else []
    inputs = " ".join(item.code for item in plan.body.inputs)
    found += ["ALiBi"] if "Alibi(" in inputs else []
    found += ["learned positions"] if "config.max_position_embeddings" in inputs and "RotaryTable" not in inputs else []
    found += ["scaled embeddings"] if "ScaledEmbedding(" in inputs else []
    found += ["plain MLP" if any(one.kind == "plain" for one in plan.mlps) else "gated MLP"]
    parts = " ".join(item.code for layer in plan.layers for item in layer.parts)
    found += ["LayerNorm"] if "LayerNorm(" in parts else ["RMSNorm"]
    found += ["transformed logits"] if plan.head.logits else []
    return tuple(dict.fromkeys(found))
