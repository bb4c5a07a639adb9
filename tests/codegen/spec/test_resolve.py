"""Overlays: merging rules, splits and their outcomes, defaults, reasons."""

import pytest

from codegen.configs import ConfigClass, table
from codegen.errors import SpecError
from codegen.language.attention import Alibi, Gqa, Mla, QKNorm, Rope
from codegen.language.check import read_text
from codegen.language.loaded import LoadedSpec
from codegen.language.mixers import Mamba2
from codegen.language.mlp import Gated, Plain, Renormalize
from codegen.language.spec import Checkpoint, Dropout, Embedding, Head, Linear


def read(text: str, name: str = "llama") -> LoadedSpec:
    return read_text(f"name: {name}\n{text}", "s.yaml")


def only(text: str, name: str = "llama"):
    (spec,) = read(text, name).flat.values()
    return spec


def texts(equations) -> list[str]:
    return [f"{equation.target} = {equation.text}" for equation in equations]


def test_llama_is_the_default_of_everything() -> None:
    loaded = read("")
    spec = only("")
    assert (loaded.name, loaded.architectures) == ("llama", ("LlamaForCausalLM",))
    assert (loaded.config.class_name, loaded.config.model_type) == ("LlamaConfig", "llama")
    assert loaded.config.fields is None and loaded.splits == () and loaded.unready == ()
    assert texts(spec.input) == ["x = embed_tokens(ids)"] and texts(spec.output) == ["logits = lm_head(norm(x))"]
    assert texts(spec.block) == [
        "x = x + attention(input_layernorm(x))",
        "x = x + mlp(post_attention_layernorm(x))",
    ]
    assert (spec.attention, spec.mlp, spec.rope) == (Gqa(), Gated(), Rope())
    assert (spec.head, spec.embedding, spec.dropout, spec.checkpoint) == (Head(), Embedding(), Dropout(), Checkpoint())
    assert spec.parts == {} and spec.positions == "arange" and spec.why is None


def test_what_no_config_has_is_as_if_it_were_not_written() -> None:
    assert only("attention: {qk_norm: {over: head, when: false}}") == only("")
    without = only("mlp: {kind: moe}", "mixtral")
    assert only("mlp: {kind: moe, shared: {when: false}}", "mixtral") == without
    hybrid = only("mlp: {width: 4}\nattention: {kind: mamba2, norm: {when: false}}", "mamba2")
    assert hybrid.attention.norm is not None  # which is there by itself


@pytest.mark.parametrize(
    ("text", "kind"),
    [("mlp: plain", Plain), ("mlp: {kind: plain}", Plain), ("mlp: gated", Gated), ("mlp: {width: 8}", Gated)],
)
def test_a_bare_word_is_a_kind(text: str, kind: type) -> None:
    assert type(only(text).mlp) is kind


def test_a_head_with_rows_of_its_own_is_no_embedding_unless_they_may_be_the_vocabulary_s() -> None:
    with pytest.raises(SpecError, match="a head that shares the embedding has its rows"):
        read("head: {rows: 7}")
    assert only("head: {rows: config.pad_token_id or config.vocab_size}").head.rows is not None
    assert only("head: {rows: 7, tie: false}").head.rows is not None


def test_shorthands() -> None:
    spec = only("norm: layernorm\nrope: none\nattention: {qk_norm: head, alibi: true, bias: config.attention_bias}")
    assert spec.norm.kind == "layernorm" and spec.rope is None
    assert spec.attention.qk_norm == QKNorm(over="head") and spec.attention.alibi == Alibi()
    assert {role: flag.text for role, flag in spec.attention.bias.items()} == {"*": "config.attention_bias"}
    with pytest.raises(SpecError, match="'q' is not known"):  # a role is no value
        only("attention: {bias: {out: q}}")
    assert only("attention: {qk_norm: none, alibi: false}").attention == Gqa()
    router = only("mlp: {kind: moe, router: {renormalize: config.use_cache, score: sigmoid}}", "mixtral").mlp.router
    assert router.renormalize.when.text == "config.use_cache" and router.score == "sigmoid"
    assert only("mlp: {kind: moe, router: {renormalize: true}}", "mixtral").mlp.router.renormalize == Renormalize()
    assert only("mlp: {kind: moe, router: {renormalize: false}}", "mixtral").mlp.router.renormalize is None


def test_activation_is_a_word_or_an_expression() -> None:
    assert only("mlp: {activation: relu}").mlp.activation.constant == "relu"
    assert only("mlp: {activation: config.hidden_act}").mlp.activation.constant is ...


def test_named_wirings_expand() -> None:
    assert texts(only("block: parallel").block) == ["h = input_layernorm(x)", "x = x + attention(h) + mlp(h)"]


def test_a_bare_true_replaces_what_lies_below() -> None:
    below = "mlp: {kind: moe, router: {renormalize: config.use_cache}}\nattention: {qk_norm: {over: head, eps: 1e-5}}\n"
    loaded = read(
        f"{below}layers: {{when: layer == 0, mlp: {{router: {{renormalize: true}}}}, attention: {{qk_norm: true}}}}\n",
        "mixtral",
    )
    usual, laid = loaded.flat[(False,)], loaded.flat[(True,)]
    assert usual.mlp.router.renormalize.when.text == "config.use_cache"
    assert laid.mlp.router.renormalize == Renormalize() and laid.attention.qk_norm == QKNorm()


def test_overlays_merge_mappings_and_replace_the_rest() -> None:
    loaded = read(
        """
attention: {window: 4, qk_norm: {over: head, eps: 1e-5}, bias: {out: true}}
mlp: moe
checkpoint: {names: {out: dense}, fused: {qkv: [q, k, v]}, float32: ["*"]}
variants:
  when: config.use_cache
  attention: {qk_norm: {eps: 1e-6}, bias: {qkv: true}}
  checkpoint: {names: {router: r}, fused: {qkv: {groups: 2}}, float32: ["*.weight"]}
""",
        "mixtral",
    )
    base, laid = loaded.flat[(False,)], loaded.flat[(True,)]
    assert base.checkpoint.float32 == ("*",) and base.checkpoint.fused["qkv"].groups is None
    assert laid.attention.window.text == "4" and laid.attention.qk_norm.over == "head"
    assert laid.attention.qk_norm.eps.text == "1e-06" and set(laid.attention.bias) == {"out", "qkv"}
    assert laid.checkpoint.names == {"out": "dense", "router": "r"} and laid.checkpoint.float32 == ("*.weight",)
    assert laid.checkpoint.fused["qkv"].parts == ("q", "k", "v") and laid.checkpoint.fused["qkv"].groups.text == "2"


def test_one_flag_for_all_roles_and_flags_per_role_replace_each_other() -> None:
    spec = "attention: {bias: true}\nvariants: {when: config.use_cache, attention: {bias: {out: false}}}"
    assert set(read(spec).flat[(True,)].attention.bias) == {"out"}
    spec = "attention: {bias: {out: false}}\nvariants: {when: config.use_cache, attention: {bias: true}}"
    assert set(read(spec).flat[(True,)].attention.bias) == {"*"}


def test_another_kind_replaces_the_whole_mapping() -> None:
    spec = "mlp: {kind: moe, activation: relu}\nlayers: {when: layer < 2, mlp: gated}"
    assert read(spec, "mixtral").flat[(True,)].mlp == Gated()
    spec = "norm: {kind: layernorm, bias: false}\nvariants: {when: config.use_cache, norm: {kind: rmsnorm}}"
    assert read(spec).flat[(True,)].norm.bias is None
    spec = "attention: {window: 4}\nvariants: {when: config.use_cache, attention: {kind: gqa, softcap: 3.0}}"
    assert read(spec).flat[(True,)].attention.window.text == "4"


def test_a_kind_that_was_left_out_is_the_default_one() -> None:
    """`experts` without a kind is gated, so a plain overlay leaves nothing of it."""
    spec = "mlp: {kind: moe, experts: {width: 3}}\nvariants: {when: config.use_cache, mlp: {experts: {kind: plain}}}"
    assert read(spec, "mixtral").flat[(True,)].mlp.experts.width is None


def test_none_and_back() -> None:
    loaded = read("rope: none\nvariants: {when: config.use_cache, rope: {layout: interleaved}}")
    assert loaded.flat[(False,)].rope is None and loaded.flat[(True,)].rope == Rope(layout="interleaved")
    spec = "attention: {qk_norm: head}\nlayers: {when: layer == 0, attention: {qk_norm: none}}"
    assert read(spec).flat[(True,)].attention.qk_norm is None


def test_order_is_base_variants_layers() -> None:
    loaded = read("""
layers: [{when: layer > 0, attention: {window: 2}}, {when: layer > 1, attention: {window: 3}}]
variants: {when: config.use_cache, attention: {window: 1}}
""")
    assert [split.condition.text for split in loaded.splits] == ["config.use_cache", "layer > 0", "layer > 1"]
    assert [split.per_layer for split in loaded.splits] == [False, True, True]
    windows = {key: getattr(spec.attention.window, "text", None) for key, spec in loaded.flat.items()}
    assert len(windows) == 8
    assert windows[(False, False, False)] is None and windows[(True, False, False)] == "1"
    assert windows[(True, True, False)] == "2" and windows[(True, True, True)] == "3"


def test_usual_kinds_join_the_listed_ones() -> None:
    loaded = read('layers: {by: "config.layer_types[layer]", kinds: {full_attention: {rope: none}}}', "gemma2")
    (split,) = loaded.splits
    assert split.by and split.outcomes == ("full_attention", "sliding_attention")
    assert loaded.flat[("full_attention",)].rope is None
    sliding = loaded.flat[("sliding_attention",)].attention.window
    assert sliding.text == "config.sliding_window"


@pytest.mark.parametrize(
    ("name", "schedule", "outcomes"),
    [
        ("llama4_text", "by: config.layer_types[layer]", ("full_attention", "chunked_attention")),
        ("exaone_moe", "by: config.mlp_layer_types[layer]", ("dense", "sparse")),
        ("smollm3", "by: config.layer_types[layer]", ("full_attention", "sliding_attention")),
        ("llama4_text", "{by: 'config.no_rope_layers[layer]', kinds: {1: {}, 0: {rope: none}}}", (1, 0)),
        ("gpt2", "{by: layer % 2, kinds: {0: {}, 1: {rope: none}}}", (0, 1)),
    ],
)
def test_which_kinds_may_occur(name: str, schedule: str, outcomes: tuple[object, ...]) -> None:
    schedule = schedule if schedule.startswith("{") else f"\n  {schedule}"
    extra = "\nrope: none\nmlp: {width: 3}" if name == "gpt2" else "\nmlp: {width: 3}"
    assert read(f"layers: {schedule}{extra}", name).splits[0].outcomes == outcomes


def test_a_usual_kind_that_the_mixer_cannot_have_is_left_out() -> None:
    mixer = "{kind: mamba2, heads: 1, head_dim: 1, groups: 1, state: 1, kernel: 1}"
    pending = f"attention: {mixer}\nblock: x = x + attention(norm(x))"
    loaded = read(f'{pending}\nlayers: {{by: "config.layer_types[layer]"}}', "gemma2")
    assert loaded.splits[0].outcomes == ("full_attention",)
    assert type(loaded.flat[("full_attention",)].attention) is Mamba2


def test_a_choice_given_by_the_config_is_a_split() -> None:
    loaded = read("rope: {layout: config.rope_interleave}\nattention: mla\nmlp: {width: 1}", "deepseek_v3")
    (split,) = loaded.splits
    assert (split.condition.text, split.outcomes, split.by) == ("config.rope_interleave", (False, True), False)
    assert [loaded.flat[(flag,)].rope.layout for flag in (False, True)] == ["half", "interleaved"]
    assert type(loaded.flat[(True,)].attention) is Mla
    score = "mlp: {kind: moe, router: {score: config.hidden_act}, shared: {gate: none}}"
    (split,) = read(score, "mixtral").splits
    assert split.by and split.outcomes == ("softmax", "sigmoid")


def test_reasons_survive() -> None:
    loaded = read("""
why: of the model
attention: {window: 3, why: of the attention, qk_norm: {over: head, why: of the norm}}
variants: {when: config.use_cache, mlp: plain, why: of the variant}
checkpoint: {drop: [{match: "mtp.*", why: of the drop}]}
""")
    spec = loaded.flat[(False,)]
    assert (spec.why, spec.attention.why, spec.attention.qk_norm.why) == (
        "of the model",
        "of the attention",
        "of the norm",
    )
    assert loaded.splits[0].why == "of the variant" and spec.checkpoint.drop[0].why == "of the drop"


def test_parts_and_what_has_no_template() -> None:
    text = """
block: [x = x + attention(norm_1(x)), x = x + side(mlp(norm_2(x)))]
parts: {side: {kind: linear, in: config.hidden_size, out: config.hidden_size, when: config.use_cache}}
variants: {when: config.use_cache, parts: {side: {bias: true}}}
"""
    side = read(text).flat[(True,)].parts["side"]
    assert type(side) is Linear and side.in_.text == "config.hidden_size" and side.bias.constant is True
    loaded = read("layers: {when: layer == 0, mlp: {kind: moe, experts: {inner_norm: inner}}}", "mixtral")
    assert loaded.unready == ("mlp.experts.inner_norm",)


def test_declared_config() -> None:
    loaded = read_text(
        """
name: mine
architecture: [MineForCausalLM, OldMineForCausalLM]
config: {model_type: mine, class: MineConfig, fields: {hidden_size: 8, vocab_size: 9, num_attention_heads: 2,
  rms_norm_eps: 1e-6, hidden_act: silu, intermediate_size: 16, window: null}, why: published files carry these}
rope: {theta: 10000.0}
attention: {window: config.window}
overrides: {attention: somewhere.layers:Attention}
tests: {tiny: {hidden_size: 4}}
""",
        "mine.yaml",
    )
    assert loaded.architectures == ("MineForCausalLM", "OldMineForCausalLM")
    assert loaded.config.fields is not None and loaded.config.fields["window"] is None
    assert loaded.config.why == "published files carry these" and loaded.config.class_name == "MineConfig"
    assert loaded.tests == {"tiny": {"hidden_size": 4}}
    assert loaded.overrides == {"attention": "somewhere.layers:Attention"}


def test_schedules_of_some_variants_are_asked_only_there() -> None:
    loaded = read("""
variants: {when: config.use_cache, layers: {by: layer % 2, kinds: {1: {rope: none}}}}
layers: [{when: layer > 1, mlp: plain}]
""")
    assert [(split.condition.text, split.per_layer) for split in loaded.splits] == [
        ("config.use_cache", False),
        ("layer % 2 if config.use_cache else None", True),
        ("not config.use_cache and layer > 1", True),
    ]
    assert loaded.flat[(True, 1, False)].rope is None and loaded.flat[(True, None, False)].rope is not None
    assert loaded.flat[(False, None, True)].mlp != loaded.flat[(True, 1, False)].mlp


def test_schedules_merge_as_sections_do() -> None:
    loaded = read("""
variants:
  by: config.bos_token_id
  kinds: {1: {layers: {kinds: {1: {mlp: plain}}}}, 2: {layers: [{when: layer > 3, rope: none}]}}
layers: {by: layer % 2, kinds: {0: {rope: none}, 1: {}}}
""")
    assert [split.condition.text for split in loaded.splits[1:]] == [
        "layer % 2 if config.bos_token_id == 1 else None",
        "config.bos_token_id == 2 and layer > 3",
        "layer % 2 if config.bos_token_id not in (1, 2) else None",
    ]
    assert loaded.splits[1].outcomes == (0, 1, None)
    assert loaded.flat[(1, 1, False, None)].mlp != loaded.flat[(1, 0, False, None)].mlp


def test_what_is_wrong_with_a_schedule_of_a_variant_has_its_place() -> None:
    with pytest.raises(SpecError, match=r"variants\.layers\.when: .*nothing"):
        read("variants: {when: config.use_cache, layers: {when: layer > nothing, rope: none}}")
    with pytest.raises(SpecError, match=r"variants\.when"):
        read("variants: {when: layer > 1, layers: {when: layer > 1, rope: none}}")
    with pytest.raises(SpecError, match=r"variants\.kinds\.1\.layers\.head"):
        read("variants: {by: config.bos_token_id, kinds: {1: {layers: {when: layer > 1, head: {bias: true}}}}}")


def test_too_many_combinations() -> None:
    entries = "\n".join(f"  - {{when: layer == {index}, rope: none}}" for index in range(14))
    with pytest.raises(SpecError, match="combinations of outcomes"):
        read(f"layers:\n{entries}")


def test_config_classes() -> None:
    gpt2 = table().for_model_type("gpt2")
    assert gpt2 is not None and gpt2.name == "GPT2Config"
    assert gpt2.has("hidden_size") and gpt2.value("hidden_size") == gpt2.value("n_embd") == 768
    assert gpt2.field_name("hidden_size") == "n_embd" and not gpt2.has("intermediate_size")
    dbrx = table().get("DbrxConfig")
    assert dbrx is not None and dbrx.has("attn_config.clip_qkv") and not dbrx.has("attn_config.clip")
    llama = table().get("LlamaConfig")
    assert llama is not None and llama.has("rope_parameters.factor") and llama.value("rope_parameters.factor") is None
    assert not llama.has("hidden_size.bits") and table().get("NoConfig") is None
    with pytest.raises(KeyError):
        llama.value("nothing")
    mine = ConfigClass.from_declaration({"a": 1})
    assert mine.has("a") and mine.has("tie_word_embeddings") and not mine.has("b")
    assert table().get("Emu3TextConfig").published == {"head_dim"}  # type: ignore[union-attr]
