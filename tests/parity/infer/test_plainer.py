"""What says the same more plainly: keys in place of variants, conditions without `not`, fields by their own names."""

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.plainer import ways


def made(text, named=""):
    """What may be said otherwise, without the name; all of it fits the language."""
    candidate = Candidate.read(text, "specs/x.yaml")
    assert not candidate.problems
    found = [candidate.with_(data) for what, data in ways(candidate) if named in what]
    return [{name: one for name, one in other.data.items() if name != "name"} for other in found if not other.problems]


def test_a_switch_holds_where_its_variant_does():
    found = made("name: qwen2_moe\nmlp: moe\nvariants: {when: config.tie_word_embeddings, head: {bias: true}}\n")
    assert {"mlp": "moe", "head": {"bias": "config.tie_word_embeddings"}} in found
    assert {"mlp": "moe", "head": {"bias": True}} in found  # of all models: the judge refuses it


def test_a_number_has_the_condition_of_its_variant():
    found = made("name: qwen3\nvariants: {when: not config.attention_bias, attention: {scale: 1}}\n")
    assert {"attention": {"scale": "head_dim ** -0.5 if config.attention_bias else 1"}} in found


def test_a_field_that_may_be_none_stands_before_the_default():
    variant = "{when: config.intermediate_size is None, mlp: {width: 4 * config.hidden_size}}"
    found = made(f"name: gpt_neo\nrope: none\nmlp: plain\nvariants: {variant}\n")
    wanted = {"kind": "plain", "width": "config.intermediate_size or 4 * config.hidden_size"}
    assert {"rope": "none", "mlp": wanted} in found


def test_a_section_with_a_condition_of_its_own_takes_that_of_its_variant():
    variant = "{when: config.qk_layernorm, attention: {qk_norm: {bias: false}}, checkpoint: {names: {q_norm: q}}}"
    text = f"name: stablelm\nvariants: {variant}\n"
    wanted = {"qk_norm": {"bias": False, "when": "config.qk_layernorm"}}
    assert {"attention": wanted, "checkpoint": {"names": {"q_norm": "q"}}} in made(text)


def test_variants_hold_where_a_field_is_something():
    text = "name: stablelm\nblock: parallel\nvariants: {when: not config.use_parallel_residual, block: sandwich}\n"
    turned = [{"when": "config.use_parallel_residual", "block": "parallel"}]
    assert {"block": "sandwich", "variants": turned} in made(text)
    unsaid = "name: stablelm\nvariants: {when: not config.use_parallel_residual, block: parallel}\n"
    assert not made(unsaid, "something")  # it would be longer


def test_a_part_goes_with_the_only_block_that_calls_it():
    text = """name: granitemoeshared
parts: {shared: {kind: gated, width: config.shared_intermediate_size}}
mlp: moe
block: [x = x + attention(norm_1(x)), h = norm_2(x), x = x + mlp(h) + shared(h)]
variants:
  when: config.shared_intermediate_size == 0
  block: [x = x + attention(norm_1(x)), x = x + mlp(norm_2(x))]
"""
    (found,) = [one for one in made(text, "something") if "parts" not in one]
    (variant,) = found["variants"]
    assert variant["when"] == "config.shared_intermediate_size"
    assert variant["parts"] == {"shared": {"kind": "gated", "width": "config.shared_intermediate_size"}}
    assert len(found["block"]) == 2 and len(variant["block"]) == 3


def test_expressions_ask_whether_a_field_is_something():
    (found,) = made("name: qwen3\nattention: {scale: 1 if not config.attention_bias else 2}\n", "without not")
    assert found == {"attention": {"scale": "2 if config.attention_bias else 1"}}


def test_fields_go_by_the_names_of_their_class():
    (found,) = made("name: gpt2\nrope: none\nmlp: {kind: plain, width: 4 * config.hidden_size}\n", "config.n_embd")
    assert found["mlp"]["width"] == "4 * config.n_embd"


def test_a_router_that_stays_fp32_computes_so():
    text = 'name: qwen2_moe\nmlp: {kind: moe, router: {bias: true}}\ncheckpoint: {float32: ["*gate.weight"]}\n'
    (found,) = made(text, "mlp.router.dtype")
    assert found["mlp"]["router"] == {"bias": True, "dtype": "float32"}
    assert not made(text.replace("*gate.weight", "*_bias"), "mlp.router.dtype")
    assert not made(text.replace("bias: true", "dtype: model"), "mlp.router.dtype")


def test_what_some_layers_say_is_said_of_all():
    text = "name: qwen3\nlayers: {by: 'config.layer_types[layer]', kinds: {full_attention: {attention: {scale: 1}}}}\n"
    assert {"attention": {"scale": 1}, "layers": {"by": "config.layer_types[layer]"}} in made(text, "of all layers")
