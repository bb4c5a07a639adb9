"""New combinations of the values of the language, over Llava's config: each is refused with its place and its cure, or
generates a model that is what its words say, trains, and comes back from its own checkpoint."""

import importlib

import pytest
import torch
import transformers
import yaml

import nemo_automodel.components.models
from codegen.errors import SpecError
from codegen.render.image_text import model_files
from nemo_automodel.testing.asserting import close
from tests.codegen.vision.test_specs import planned
from tests.random_specs.images.meaning import Meaning
from tests.random_specs.package import forget

FOLDER = "nemo_automodel.components.models"
TIE = {"tie": "config.text_config.tie_word_embeddings"}
PLAIN = "x = linear_2(act(linear_1(x)))"
SPECS = {
    "capped": {
        "output": "logits = softcap(lm_head(x) * config.text_config.rms_norm_eps, 0.01)",
        "projector": PLAIN,
    },
    "scaled_before_the_head": {
        "output": "logits = lm_head(x * config.text_config.rms_norm_eps) / 2",
        "projector": PLAIN,
    },
    "a_norm_where_there_are_biases": {
        "projector": "x = linear_2(gelu(linear_1(norm(x))))",
        "parts": {"norm": {"kind": "rmsnorm", "offset": 1, "when": "config.multimodal_projector_bias"}},
    },
    "a_map_that_may_be_absent": {
        "projector": "x = out(silu(wider(x)))",
        "parts": {
            "wider": {"out": "3 * width", "when": "config.projector_hidden_act == 'gelu'"},
            "out": {"bias": False},
        },
    },
    "merged_and_gated": {
        "text": "mistral",
        "vision": {"skip": 1},
        "projector": [
            "h, gate = chunk(linear_1(pre_norm(merge_patches(x, 2, channel_major))), 2)",
            "x = linear_2(h * sigmoid(gate)) / config.text_config.hidden_size ** 0.5",
        ],
        "parts": {"pre_norm": {"kind": "layernorm", "eps": 0.003}, "linear_1": {"out": "2 * width // 4"}},
    },
    "two_branches": {
        "text": "qwen3",
        "head": TIE,
        "projector": ["y = gate(x)", "x = linear_2(linear_1(x) * tanh(y) + y)"],
        "parts": {"linear_1": {"out": 40}, "gate": {"kind": "linear", "out": 40, "bias": True}},
        "output": "logits = 3 * lm_head(x)",
    },
}
REFUSED = {
    "a_width_that_nothing_reads": (
        {"projector": "none", "vision": {"width": 5}},
        r"vision.width: is read by no equation",
    ),
    "a_part_behind_the_text": ({"output": "logits = lm_head(norm(x))"}, r"output: 'norm' is called, and there are no"),
    "no_head": ({"output": "logits = x"}, r"output: the head 'lm_head' is not called"),
    "no_logits": ({"output": "y = lm_head(x)"}, r"output: the last equation binds 'y', not 'logits'"),
    "bent_otherwise": ({"output": "logits = tanh(lm_head(x))"}, r"output: 'tanh.*' is not"),
    "a_number_by_a_call": (
        {"projector": "x = linear_1(x) / sqrt(config.text_config.hidden_size)"},
        r"projector: 'sqrt.*' is called on no rows; write",
    ),
    "no_field": ({"parts": {"linear_1": {"when": "config.x"}}}, r"parts.linear_1.when: LlavaConfig has no field 'x'"),
    "variants": ({"variants": [{"when": "config.multimodal_projector_bias"}]}, r"variants: .*write the condition in"),
}


def written(spec):
    spec = {"architecture": "LlavaForConditionalGeneration", "text": "llama", **spec}
    return yaml.safe_dump({name: value for name, value in spec.items()}, sort_keys=False)


@pytest.fixture(params=SPECS)
def made(request, tmp_path):
    """A spec, the class that it generates, and the configs of its tests."""
    name = f"unpublished_{request.param}"
    plan = planned(tmp_path, written(SPECS[request.param]), name)
    for path, content in model_files(plan.model, lambda source, *_: source).items():
        file = tmp_path / "models" / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    nemo_automodel.components.models.__path__.append(str(tmp_path / "models"))
    importlib.invalidate_caches()
    yield SPECS[request.param], importlib.import_module(f"{FOLDER}.{name}.model").ModelClass, dict(
        plan.contract.configs
    )
    nemo_automodel.components.models.__path__.pop()
    forget(name)


def batch(config, rows):
    """Two texts with an image each."""
    ids = torch.full((2, rows + 4), 5)
    ids[:, 2 : 2 + rows] = config.image_token_index
    size = config.vision_config.image_size
    return ids, torch.randn(2, 3, size, size)


def test_equals_its_words(made, tmp_path):
    spec, model_class, configs = made
    for fields in configs.values():
        torch.manual_seed(0)
        config = transformers.LlavaConfig(**fields)
        model = model_class(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        meaning = Meaning(spec, config, model.state_dict_adapter.to_hf(model.state_dict()))
        with torch.no_grad():
            rows = meaning.features(model.model.vision_tower, batch(config, 1)[1])
        ids, pixels = batch(config, len(rows) // 2)
        output = model(input_ids=ids, pixel_values=pixels)
        output.logits.square().mean().backward()
        assert all(parameter.grad is not None for parameter in model.model.multi_modal_projector.parameters())
        with torch.no_grad():
            rows = meaning.features(model.model.vision_tower, pixels)
            close(model.get_image_features(pixel_values=pixels).pooler_output, rows)
            x = model.get_input_embeddings()(ids).masked_scatter((ids == config.image_token_index)[..., None], rows)
            close(output.logits, meaning.logits(model.get_decoder()(inputs_embeds=x).last_hidden_state))
        model.save_pretrained(tmp_path / "saved")
        again, info = model_class.from_pretrained(tmp_path / "saved", output_loading_info=True)
        assert not any(info.values())
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_its_place_and_its_cure(name, tmp_path):
    spec, message = REFUSED[name]
    with pytest.raises(SpecError, match=rf"specs/unpublished.yaml:\d+:\d+: {message}"):
        planned(tmp_path, written(spec), "unpublished")
