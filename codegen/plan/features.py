"""What a model has, in words for the documentation: from the plan, so that it is what the tests prove."""

from codegen.plan.types import ModelPlan


def features(plan: ModelPlan) -> tuple[str, ...]:
    """Short phrases: mixers, what is around the layers, the head."""
    found = [words for mixer in plan.mixers for words in mixer.features]
    found += [*plan.body.features, *(["transformed logits"] if plan.head.logits else [])]
    return tuple(dict.fromkeys(found))
