"""Which runs of the contract every test run makes. The rest carries the marker `full` (`python -m pytest -m ""`).

The families of `WHOLE` run whole: together they touch every value of the catalog that any family touches. Of others,
each test runs on the base config and on one more, drawn by the names of the family and the test; so is which of the two
is split and which packed. Tests of what the library does alike for all (`DEAR`: they take long and ask for no number
that another does not ask for) run so in families of `WHOLE` too, and of others in one of three, drawn likewise; those
of `DEAREST` in one of twelve of all.
"""

from itertools import product
from zlib import crc32

WHOLE = (
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


DEAR = (
    "test_adapters_go_both_ways",
    "test_adapters_learn_the_same_under_checkpointing",
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
DEAREST = ("test_trainer_resumes",)  # seconds each, and alike for all: no family runs them whole
DRAWN, SELDOM = 3, 12  # one of so many other families runs a dear test, and one of so many of all the dearest


def sample(family, test, configs, backends):
    """The runs that are always made, of a test for each config and backend; an axis that it does not have is empty."""
    whole, dear = family in WHOLE, test in DEAR
    if whole and not dear and test not in DEAREST:
        return set(product(configs or (None,), backends or (None,)))
    draw = crc32(f"{family}.{test}".encode())
    if test in DEAREST and (draw >> 8) % SELDOM or dear and not whole and draw % DRAWN:
        return set()
    draw //= DRAWN
    others = configs[1:] or configs
    drawn = [configs[0], others[draw % len(others)]] if configs else [None]
    turned = [backends[(draw + turn) % len(backends)] if backends else None for turn in range(2)]
    return set(zip(drawn, turned, strict=False))
