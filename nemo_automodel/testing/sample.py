"""Which runs of the contract every test run makes. The rest carries the marker `full` (`python -m pytest -m ""`).

A test runs for each config and backend that it names. Which of these runs are made always:

| test | families of `WHOLE` | other families |
|---|---|---|
| of `FIRST` | every config; of `BOTH`, with both backends | the base config and another |
| others | every config | one config |
| of `PROVEN` | one config | one config, in one of two families |
| of `ALIKE` | one config | one config, in one of twelve families |
| of `DEAR` | one config, in one of eight families | the same |
| of `DEAREST` | one run, in one of twelve families | the same |

The families of `WHOLE` together touch every value of the catalog that any family touches. `FIRST` are those tests that
a mistake in a spec turns red before any other. `PROVEN` is what `codegen parity` measures too, of every family and on
all of its configs, before its record of the family's code is written (`codegen list` says where it is older). `ALIKE`,
`DEAR` and `DEAREST` ask what the library does alike for all: they ask for no number of a family's own that another does
not ask for. A test that names no config is of one. Where nothing is said of the backend, a run of one config is split
and that of the next one packed. What is drawn is drawn by the names of family and test, so that it is the same in every
run.
"""

from itertools import product
from zlib import crc32

WHOLE = (
    "aria_text",
    "baichuan",
    "beam",
    "bitnet",
    "bloom",
    "cohere",
    "cohere2_moe",
    "ctrl",
    "dbrx",
    "deepseek_v2",
    "ernie4_5_moe",
    "falcon",
    "falcon_mamba",
    "gpt_oss",
    "gptj",
    "granitemoe_swa",
    "kimi_linear",
    "laguna",
    "lfm2",
    "llama4_text",
    "mimo_v2_flash",
    "minimax",
    "minimax_m2",
    "ministral3",
    "mistral4",
    "modernbert_decoder",
    "moshi",
    "mpt",
    "nanochat",
    "nemotron_v3",
    "opt",
    "phimoe",
    "qwen3_5_moe_text",
    "recurrent_gemma",
    "stablelm",
    "vaultgemma",
    "xglm",
)

BOTH = ("test_adapter_round_trip", "test_from_pretrained_takes_every_tensor", "test_model_equals_the_reference")
FIRST = (*BOTH, "test_components_equal_the_reference")
PROVEN = (
    "test_cached_logits_equal_uncached",
    "test_greedy_equals_the_reference",
    "test_memory_is_the_references",
    "test_model_in_bf16",
    "test_reference_loads_what_we_save",
)
ALIKE = (
    "test_a_missing_expert_is_an_error",
    "test_an_unexpected_tensor_is_an_error",
    "test_another_shape_is_an_error",
    "test_attention_can_be_set",
    "test_base_model_is_reachable",
    "test_checkpointing_keeps_no_cache",
    "test_config_is_shared",
    "test_embeddings_in_place_of_ids",
    "test_given_positions",
    "test_gradients_can_be_accumulated_without_reducing_them",
    "test_greedy_is_the_same_with_every_cache",
    "test_hidden_states_and_attentions",
    "test_ids_or_embeddings_but_not_both",
    "test_keywords_of_the_loss",
    "test_layers_beyond_the_last_are_left_out_and_said",
    "test_load_state_dict_takes_disk_names",
    "test_logits_have_one_row_a_token",
    "test_logits_to_keep",
    "test_masks_as_a_dict",
    "test_older_readers_find_their_rope_keys",
    "test_outputs_as_a_tuple",
    "test_packed_sequences",
    "test_padding_is_not_routed",
    "test_saving_in_shards_keeps_the_names",
    "test_sdpa_is_refused_where_scores_are_capped",
    "test_shards_convert_like_wholes",
    "test_signature_of_forward",
    "test_swapped_experts_are_noticed",
    "test_what_the_reference_leaves_out",
)
DEAR = (
    "test_a_missing_tensor_is_an_error",
    "test_adapters_go_both_ways",
    "test_adapters_learn_the_same_under_checkpointing",
    "test_components_in_bf16",
    "test_dtype_on_load",
    "test_embeddings_can_be_resized",
    "test_from_pretrained_takes_shards",
    "test_generation_without_arguments",
    "test_gradient_checkpointing",
    "test_greedy_with_the_default_attention",
    "test_layers_compile_without_graph_breaks",
    "test_lora_by_names",
    "test_loss_falls",
    "test_one_missing_weight_is_initialised",
    "test_pickle_and_copy",
    "test_saving_a_model_that_was_never_loaded",
    "test_search_equals_the_reference",
    "test_use_cache_comes_from_the_config",
)
DEAREST = ("test_trainer_resumes",)
HALF, EIGHTH, TWELFTH = 2, 8, 12


def sample(family, test, configs, backends):
    """The runs that are always made, of a test for each config and backend; an axis that it does not have is empty."""
    draw, whole = crc32(f"{family}.{test}".encode()), family in WHOLE
    if (draw >> 8) % _share(test, whole):
        return set()
    if whole and test in BOTH:
        return set(product(configs or (None,), backends or (None,)))
    drawn = list(configs) or [None]
    if not whole or test in PROVEN + ALIKE + DEAR + DEAREST:
        drawn = _drawn(drawn, draw // 2, 2 if test in FIRST else 1)
    turned = [backends[(draw + turn) % len(backends)] if backends else None for turn in range(len(drawn))]
    return set(zip(drawn, turned, strict=True))


def _share(test, whole):
    """In one of how many families a test runs."""
    if test in DEAR + DEAREST:
        return EIGHTH if test in DEAR else TWELFTH
    return 1 if whole else HALF if test in PROVEN else TWELFTH if test in ALIKE else 1


def _drawn(configs, draw, count):
    """One of the configs, or the first and one of the others."""
    first, *others = configs
    if count == 1 or not others:
        return [configs[draw % len(configs)]]
    return [first, others[draw % len(others)]]
