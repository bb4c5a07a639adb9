"""Mutations reach every place of a spec, and each verdict is given for its reason."""

import sys

import pytest
import yaml

from codegen.configs import table
from codegen.language.check import read_text
from codegen.language.loaded import config_class
from nemo_automodel.parity.mutant import Mutation
from nemo_automodel.parity.mutate_projector import projection_mutants
from nemo_automodel.parity.mutate_text import equation_mutants, expression_mutants
from nemo_automodel.parity.mutations import mutations
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.sandbox import installed
from nemo_automodel.parity.sensitivity import CAUGHT, REFUSED, SURVIVED, Bench, Verdict, explained, judge, judge_all


def texts(found):
    return {text for _, text in found}


def test_equations_lose_calls_and_terms():
    assert texts(equation_mutants("x = x + attention(norm(x))")) == {
        "x = attention(norm(x))",
        "x = x",
        "x = x - attention(norm(x))",
        "x = x + norm(x)",
        "x = x + attention(x)",
    }


def test_the_order_of_additions_is_part_of_an_equation():
    assert "x = x + (mlp(h) + attention(h))" in texts(equation_mutants("x = x + mlp(h) + attention(h)"))


@pytest.mark.parametrize(
    ("expression", "mutant"),
    [
        ("config.a ** -0.5", "config.a ** (-0.75)"),
        ("config.a or 4 * config.b", "4 * config.b"),
        ("config.a if config.b else 1", "config.a"),
        ("config.a is None", "config.a is not None"),
        ("config.v == 125696", "config.v == 188544"),
        ("2 * config.a", "2 / config.a"),
        ("newer(config.a, 7.0)", "newer(config.a, 7.0) * 1.5"),
    ],
)
def test_expressions_change_in_one_place(expression, mutant):
    assert mutant in texts(expression_mutants(expression))


def test_what_counts_in_some_releases_alone_does_not_change_by_itself():
    assert set(texts(expression_mutants("newer(config.a, 7.0)"))) == {"config.a", "newer(config.a, 7.0) * 1.5"}


@pytest.fixture(scope="module")
def bench(project):
    return Bench(project)


def spec(**sections):
    return yaml.safe_dump({"name": "llama", **sections}, sort_keys=False)


def test_every_key_of_the_language_is_offered(project):
    text = (project.root / project.spec.path).read_text()
    config = config_class(project.spec, table())
    found = list(mutations(text, project.spec, config, project.configs["base"]))
    assert len({mutation.text for mutation in found}) == len(found)
    assert text not in {mutation.text for mutation in found}
    names = "\n".join(mutation.name for mutation in found)
    for key in ("norm.offset", "rope.layout", "attention.qk_norm", "attention.bias", "mlp.activation", "head.bias"):
        assert key in names
    for key in ("embedding.padding_idx", "dropout.attention", "block: drop the call mlp", "rope: none"):
        assert key in names


@pytest.mark.parametrize(
    ("sections", "outcome", "reason"),
    [
        ({"norm": {"offset": 1}}, CAUGHT, "base, plain: logits"),
        ({"norm": {"cast": "after_weight"}}, CAUGHT, "bits in bf16"),
        ({"embedding": {"padding_idx": "none"}}, CAUGHT, "gradient of model.embed_tokens.weight"),
        ({"dropout": {"attention": 0.3}}, CAUGHT, "loss in training"),
        ({"attention": {"qk_norm": "head"}}, CAUGHT, "missing in the checkpoint"),
        ({"attention": {"bias": "config.mlp_bias"}}, CAUGHT, "missing in the checkpoint"),
        ({"attention": {"scale": "config.nothing"}}, REFUSED, "nothing"),
        ({"mlp": "moe"}, REFUSED, "num_experts"),
    ],
)
def test_verdicts(bench, sections, outcome, reason):
    verdict = judge(bench, Mutation("mutant", spec(**sections), "key"))
    assert verdict is not None
    assert (verdict.outcome, verdict.excused) == (outcome, False)
    assert reason in verdict.reason


@pytest.mark.parametrize("family", ["mamba2", "moshi"])
def test_a_spec_as_it_is_goes_unnoticed(project, family):
    """Whose states are summed in another order; whose reference computes attention by sdpa."""
    bench = Bench(open_project(family, project.root))
    assert bench.notices(bench.files) is None


@pytest.mark.parametrize(
    ("family", "mutant", "reason"),
    [("ctrl", ("relu", "relu6"), "loud, short: logits"), ("biogpt", ("cast(", "("), "logits of given embeddings")],
)
def test_what_only_unusual_inputs_show(project, family, mutant, reason):
    """Values so large that an activation is bounded; embeddings that are given, where a lookup scales its own."""
    other = open_project(family, project.root)
    text = (project.root / other.spec.path).read_text().replace(", float32)", ")")
    verdict = judge(Bench(other), Mutation("mutant", text.replace(*mutant), "key"))
    assert verdict is not None
    assert (verdict.outcome, reason in verdict.reason) == (CAUGHT, True)


def test_the_loss_that_balances_experts_counts(project):
    """In a family whose reference samples experts while it trains, which ours does not."""
    mixture = open_project("phimoe", project.root)
    bench, config = Bench(mixture), config_class(mixture.spec, table())
    assert bench.notices(bench.files) is None
    text = (project.root / mixture.spec.path).read_text()
    found = mutations(text, mixture.spec, config, mixture.configs["base"])
    heavier = next(one for one in found if one.name.startswith("mlp.router.aux_loss: ") and one.name.endswith("* 1.5"))
    assert "balances experts" in judge(bench, heavier).reason


def test_where_a_spec_as_it_is_is_noticed_no_mutation_counts(project, monkeypatch):
    monkeypatch.setattr(Bench, "notices", lambda *_: "base: bits in bf16")
    (verdict,) = judge_all(project, print)
    assert (verdict.outcome, verdict.excused) == (SURVIVED, False) and "base: bits" in verdict.reason


def test_tensors_that_no_reference_knows_may_be_dropped(bench):
    text = spec(checkpoint={"drop": [{"match": "mtp.*", "why": "drafts"}]})
    assert judge(bench, Mutation("delete checkpoint", text, "drop")).excused
    assert not judge(bench, Mutation("delete checkpoint", text, "names")).excused


def test_a_fault_of_the_generator_is_no_refusal(bench, monkeypatch):
    def fail(*_):
        raise AttributeError("eps")

    monkeypatch.setattr("nemo_automodel.parity.sensitivity.build", fail)
    verdict = judge(bench, Mutation("mutant", spec(norm={"offset": 1}), "offset"))
    assert (verdict.outcome, verdict.excused) == (SURVIVED, False) and "AttributeError: eps" in verdict.reason


def test_equal_code_is_a_survivor_unless_it_follows_from_other_keys(bench):
    same = spec(norm={"offset": 0})
    assert judge(bench, Mutation("m", same, "offset")).outcome == SURVIVED
    assert judge(bench, Mutation("m", same, "offset")).excused
    assert not judge(bench, Mutation("m", same, "offset", from_default=True)).excused
    assert judge(bench, Mutation("m", same, "bias", from_default=True, derived=True)) is None


def test_a_reason_in_the_spec_excuses_its_own_mutation():
    survivor, caught = Verdict("m", SURVIVED, "the same"), Verdict("n", CAUGHT, "logits")
    reasons, used = {"m": "by algebra", "n": "not so"}, set()
    for _ in range(2):  # two terms of one equation may have one name
        assert explained(survivor, reasons, used) == Verdict("m", SURVIVED, "by algebra", excused=True)
    assert explained(caught, reasons, used) == caught
    assert used == {"m"}  # what else the spec names is reported


def test_what_an_overlay_says_is_no_default_of_the_others():
    kinds = "{sliding_attention: {attention: {sinks: true}}, full_attention: {}}"
    text = f"name: cohere2\nlayers: {{by: 'config.layer_types[layer]', kinds: {kinds}}}\n"
    spec = read_text(text, "specs/cohere2.yaml")
    found = {one.name: one for one in mutations(text, spec, config_class(spec, table()), {})}
    assert found["attention.sinks: False"].derived and not found["rope.layout: interleaved"].derived


def test_large_numbers_change_by_more_than_rounding():
    assert {"2 + 2048", "1 + 3072"} <= set(texts(expression_mutants("1 + 2048")))


def test_a_section_that_says_one_thing_is_deleted_with_it():
    text = "name: llama\nattention: {qk_norm: {cast: after_weight}}\n"
    spec = read_text(text, "specs/llama.yaml")
    config = config_class(spec, table())
    keys = {one.name: one.key for one in mutations(text, spec, config, {})}
    assert keys["delete attention"] == "cast"


def test_the_sandbox_puts_the_real_package_back():
    import nemo_automodel.components.models.llama.model as real

    with installed("llama", {"model.py": "ANSWER = 42\n"}) as modules:
        assert modules["model"].ANSWER == 42
        assert sys.modules[real.__name__] is modules["model"]
    assert sys.modules[real.__name__] is real


def test_the_sandbox_holds_packages_within_the_package():
    text, model = "ANSWER = 42\n", "from nemo_automodel.components.models.llama.text.model import ANSWER\n"
    with installed("llama", {"model.py": model, "text/__init__.py": "raise\n", "text/model.py": text}) as modules:
        assert list(modules) == ["text.model", "model"] and modules["model"].ANSWER == 42
    assert "nemo_automodel.components.models.llama.text.model" not in sys.modules


def test_projectors_change_in_one_place():
    found = texts(projection_mutants("x = linear_2(act(merge_patches(x, 2)))"))
    for mutant in ("relu(merge_patches(x, 2))", "act(merge_patches(x, 2 + 1))", "act(avg_pool(x, 2))", "act(x)"):
        assert f"x = linear_2({mutant})" in found
    assert "x = linear_2(act(merge_patches(x, 2, channel_major)))" in found
    assert "gate, h = chunk(linear_1(x), 2)" in texts(projection_mutants("h, gate = chunk(linear_1(x), 2)"))


@pytest.fixture(scope="module")
def images(project):
    """A spec in which every section of images and text has something to change."""
    return Bench(open_project("llava", project.root))


def test_every_key_of_images_and_text_is_offered_or_named_as_fixed(images):
    spec = images.project.spec
    text = (images.project.root / spec.path).read_text()
    found = list(mutations(text, spec, spec.config_class, images.project.configs["base"]))
    names = "\n".join(mutation.name for mutation in found)
    for key in ("vision.pixels", "vision.output", "vision.skip", "vision.grid", "parts.linear_1.bias", "merge.token"):
        assert f"{key}: " in names
    for key in ("merge.lookup", "positions", "positions.start", "mask", "head.tie", "checkpoint.names.text"):
        assert f"{key}: " in names
    for key in ("checkpoint.transposed", "projector: drop the call act", "projector: act -> relu", "projector: none"):
        assert key in names


@pytest.mark.parametrize(
    ("sections", "outcome", "reason"),
    [
        ({"vision": {"skip": 0}}, CAUGHT, "ValueError"),
        ({"vision": {"skip": 1}}, CAUGHT, "34 placeholders"),
        ({"mask": "prefix"}, CAUGHT, "base, typed: logits"),
        ({"merge": {"lookup": "0"}}, CAUGHT, "base, bare: logits"),
        ({"positions": {"start": "config.image_token_index"}}, REFUSED, "positions.start"),
        ({"merge": {"lookup": "0 if token >= config.text_config.vocab_size else token"}}, SURVIVED, "looks up no id"),
    ],
)
def test_verdicts_of_images_and_text(images, sections, outcome, reason):
    text = yaml.safe_dump({"name": "llava", "processor": "LlavaProcessor", **sections}, sort_keys=False)
    verdict = judge(images, Mutation("mutant", text, "lookup"))
    assert (verdict.outcome, verdict.excused) == (outcome, outcome == SURVIVED)
    assert reason in verdict.reason
