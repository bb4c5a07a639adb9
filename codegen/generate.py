"""One spec to everything that it generates: plan, render, format, verify. Writes nothing."""

from codegen.artifacts import Generated
from codegen.plan.whole import plan_spec
from codegen.render.files import render
from codegen.spec.loaded import LoadedSpec


def generate(spec: LoadedSpec) -> Generated:
    """Everything that a spec generates, in memory.

    Raises:
        SpecError: where the spec asks for something that has no template yet.
    """
    return render(plan_spec(spec))
