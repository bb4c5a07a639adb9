"""The families whose specs stand here: drafts from checkpoints that transformers wrote come back to their specs."""

import ast
import json
import re
import shutil
from dataclasses import fields
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest
import transformers

from codegen.configs import table
from codegen.language.attention import Gqa, Mla
from codegen.language.check import read_spec, read_text, specs_of_text
from codegen.language.loaded import config_class
from codegen.language.mixers import GatedDeltaNet, Mamba1, Mamba2, RgLru, ShortConv
from codegen.language.mlp import Moe
from codegen.language.values import Expression
from codegen.new import draft
from codegen.plan.model import build, class_prefix
from codegen.plan.names import disk_name
from codegen.render.files import model_files
from codegen.tiny.configs import configs
from codegen.tiny.mentions import fields_of
from nemo_automodel.parity.reference import config_for
from nemo_automodel.parity.subject import named, transformers_class
from nemo_automodel.testing.sample import WHOLE

ROOT = Path(__file__).parents[3]
FAMILIES = sorted(path.stem for path in specs_of_text(ROOT / "specs"))
NEW = "brandnew", "BrandNew"
READ = Gqa, Mla, Mamba1, Mamba2, GatedDeltaNet, ShortConv, RgLru  # whose tensors tell what they are


@cache
def committed(path):
    """A spec that stands here."""
    return read_spec(path, ROOT)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Tiny checkpoints, made on demand and once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def made(name):
        if not (folder / name).exists():
            save(name, folder / name)
        return folder / name

    return made


def save(name, folder):
    spec = committed(ROOT / f"specs/{name}.yaml")
    values = configs(spec, table())["base"]
    if spec.config.fields is None:
        config = getattr(transformers, spec.config.class_name)(**values)
        config.architectures = list(spec.architectures[:1])
        transformers_class(type(config), config.architectures[0])(config).save_pretrained(folder)
        config.architectures = list(spec.architectures[:1])  # published so, where another family's class wrote it
        config.save_pretrained(folder)
        return
    config = named(f"nemo_automodel.components.models.{name}.config:{spec.config.class_name}")(**values)
    config.architectures = list(spec.architectures[:1])
    reference = named(spec.tests["reference"])
    folder.mkdir()
    reference(config_for(reference, config)).save_pretrained(folder)
    config.save_pretrained(folder)


def tree(folder, without=()):
    """A root with the specs that stand here, without some."""
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=lambda _, names: {f"{name}.yaml" for name in without})
    return folder


def renamed(checkpoint, folder):
    """The same checkpoint under a model type and an architecture that nobody knows."""
    folder.mkdir()
    config = json.loads((checkpoint / "config.json").read_text())
    suffix = config["architectures"][0].removeprefix(class_prefix(config["architectures"][0]))
    config |= {"model_type": NEW[0], "architectures": [NEW[1] + suffix]}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(checkpoint / "model.safetensors", folder)
    return folder


def structure(spec):
    """The syntax trees of the classes in model.py, up to their names, to how heads are read, of which a class may leave
    the number or the size open, to bounds of steps, which no config.json holds where they are infinite, and to what a
    mixer is called where a family has its name."""
    text = model_files(build(spec, config_class(spec, table())))["model.py"]
    text = text.replace(spec.config.class_name, "NewConfig")
    text = re.sub(rf"\b{class_prefix(spec.architectures[0])}(?=[A-Z])", "New", text)
    text = text.replace("config.num_key_value_heads or config.num_attention_heads", "config.num_key_value_heads")
    text = text.replace("head_size(config)", "config.head_dim").replace("        head_dim = config.head_dim\n", "")
    text = text.replace("            bounds=config.time_step_limit,\n", "")
    text = re.sub(r"\bNew(Mamba2|Mamba1|DeltaNet|ShortConv)\b", "NewMixer", text)
    text = re.sub(r"(?<![.\w])head_dim\b(?!=)", "config.head_dim", text)
    module = ast.parse(text)
    return [ast.dump(node) for node in module.body if isinstance(node, ast.ClassDef | ast.Assign)]


@pytest.fixture(scope="module")
def drafts(checkpoints, tmp_path_factory):
    """Drafts of the families under a new name, beside every spec that stands here; made on demand and once."""
    made = {}

    def drafted(name):
        if name not in made:
            made[name] = draft(renamed(checkpoints(name), tmp_path_factory.mktemp(name) / "new"), ROOT, write=False)
        return made[name]

    return drafted


def rows_of_vectors(spec):
    return {flat.checkpoint.unsqueezed for flat in spec.flat.values()}


def lies(flat):
    """How a layer's mixer lies on disk."""
    own = flat.attention
    roles = () if isinstance(own, Gqa | Mla) else own.roles()
    fused = tuple((flat.checkpoint.fused or {}).items()) if roles else ()
    return type(own), tuple(disk_name(flat, role, "attention") for role in roles), fused


def has_experts(spec):
    return any(isinstance(flat.mlp, Moe) for flat in spec.flat.values())


@cache
def everyones():
    """Of each spec that stands here: its name, whether it has experts, and of each layer how its mixer lies and the
    fields that it reads."""
    specs = [committed(ROOT / f"specs/{name}.yaml") for name in FAMILIES]
    return [
        (spec.name, has_experts(spec), [(lies(flat), fields_read(flat.attention)) for flat in spec.flat.values()])
        for spec in specs
    ]


def only_here(spec):
    """Paths of layers whose mixers lie as in no other family of its kind, or take their sizes from fields that this
    config lacks, and of what stands beside them; but of those that are read off their tensors."""
    config = config_class(spec, table())
    others = [flats for name, mixed, flats in everyones() if name != spec.name and mixed == has_experts(spec)]
    known = {lying for flats in others for lying, read in flats if all(map(config.has, read))}
    alone = [flat for flat in spec.flat.values() if lies(flat) not in known and not is_read(flat)]
    return {disk_name(flat, part) for flat in alone for part in ("attention", "mlp", *flat.parts)}


def is_read(flat):
    """Whether a mixer is told by its tensors: where others lie at the same path in other layers, none is."""
    return isinstance(flat.attention, READ) and disk_name(flat, "attention") != disk_name(flat, "mlp")


def fields_read(section):
    """Fields of the config in the values of a mixer; an attention's are known under many names."""
    values = () if isinstance(section, Gqa | Mla) else [getattr(section, one.name) for one in fields(section)]
    return {name for value in values if isinstance(value, Expression) for name in fields_of(value.tree)}


def one_of_two(turn):
    """Every run drafts each family outside of `WHOLE` in one of two ways; the other carries the marker `full`."""
    return [
        pytest.param(name, marks=() if name in WHOLE or crc32(name.encode()) % 2 == turn else pytest.mark.full)
        for name in FAMILIES
    ]


@pytest.mark.parametrize("name", one_of_two(0))
def test_without_its_spec_a_family_gets_a_draft_that_checks(name, checkpoints, tmp_path):
    made = draft(checkpoints(name), tree(tmp_path, without=[name]))
    assert made.written and not made.problems
    spec = read_spec(tmp_path / made.spec, tmp_path)
    real = committed(ROOT / f"specs/{name}.yaml")
    assert spec.architectures[0] == real.architectures[0]
    assert rows_of_vectors(spec) == rows_of_vectors(real)
    unknown = [f".{path}." for path in only_here(real)]
    if unknown:  # a mixer that no other family shows: what there is of it is told
        assert (made.unexplained or made.lacking) and all(
            any(path in name for path in unknown) for name in made.unexplained
        )
    else:
        assert not made.unexplained and not made.missing
    assert made.uncertain


def test_an_mlp_that_only_some_models_have_beside_experts_keeps_its_names(checkpoints, tmp_path):
    """The nearest spec calls projections of experts and of that MLP otherwise."""
    made = draft(checkpoints("granitemoe_swa"), tree(tmp_path, without=["granitemoe_swa"]))
    checkpoint = next(iter(read_spec(tmp_path / made.spec, tmp_path).flat.values())).checkpoint
    assert {"down": "output_linear", "experts.down": "down_proj"}.items() <= checkpoint.names.items()
    assert [*checkpoint.fused] == ["experts.gate_up_proj", "input_linear"]


@pytest.mark.parametrize("name", one_of_two(1))
def test_under_a_new_name_a_family_gets_its_own_structure(name, drafts):
    made, own = drafts(name), f"specs/{name}.yaml"
    assert own in (made.nearest, *made.equals)  # one of those that nothing published tells apart
    mine = read_text(made.text, "specs/brandnew.yaml")
    assert mine.architectures[0].startswith(NEW[1]) and mine.config.fields is not None
    assert structure(mine) in [structure(committed(ROOT / path)) for path in {own, made.nearest}]


def test_of_specs_that_nothing_tells_apart_the_plainest_is_taken_and_the_others_are_said(drafts):
    made = {name: drafts(name) for name in ("llama", "helium", "ministral3", "mistral")}
    assert {name: draft.nearest for name, draft in made.items()} == {
        **{name: f"specs/{name}.yaml" for name in made},
        "helium": "specs/llama.yaml",
    }
    assert "specs/helium.yaml" in made["llama"].equals and "specs/helium.yaml" in str(made["llama"])
    assert not made["ministral3"].equals and not made["mistral"].equals
    marked = " ".join(made["helium"].uncertain)  # that in which they differ
    assert "norm.cast" in marked and "rope.layout" in marked


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox", "phi3", "gpt2"])
def test_what_a_checkpoint_does_not_show_is_marked(name, drafts):
    made = drafts(name)
    marked = {key for line in made.uncertain for key in re.findall(r"[\w.]+", line.split(":")[0])}
    unseen = {
        "gemma2": {"input", "norm.offset", "norm.cast", "block", "rope.layout"},
        "gpt_neox": {"variants.block", "checkpoint.fused.query_key_value", "embedding.padding_idx", "rope.layout"},
        "phi3": {"block", "checkpoint.fused.qkv_proj", "checkpoint.fused.gate_up_proj", "norm.cast", "rope.layout"},
        "gpt2": {"block", "checkpoint.fused.c_attn", "embedding.padding_idx"},
    }[name]
    seen = {"attention.bias", "mlp.kind", "checkpoint.names", "attention.softcap", "output", "checkpoint.transposed"}
    assert unseen - {key.replace(".0.", ".") for key in marked} <= {"variants.block"}
    assert not seen & marked


def test_a_declared_config_reads_the_published_names(drafts):
    made = drafts("gpt2")
    source, spec = Path(made.source), read_text(made.text, "specs/brandnew.yaml")
    names = {}
    exec(model_files(build(spec, config_class(spec, table())))["config.py"], names)
    published = json.loads((source / "config.json").read_text()) | {"n_embd": 24, "n_layer": 7}
    config = names["BrandNewConfig"].from_dict(published)
    assert (config.hidden_size, config.num_hidden_layers, config.n_embd) == (24, 7, 24)
    assert "hidden_size" not in config.to_dict()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        # a list of words under a name of its own; biases that one layer has; a width by a ratio; a word's own field
        ("gpt_neo", "layers: {by: 'config.attention_layers[layer]', kinds: {global: {}, local: {}}}"),
        (
            "gpt_neox_japanese",
            "layers: {when: layer == config.num_hidden_layers - 1, attention: {bias: {qkv: false, out: true}}}",
        ),
        (
            "gpt_neox_japanese",
            "mlp: {kind: plain, width: config.intermediate_multiple_size * config.hidden_size}",
        ),
        ("openai_gpt", "mlp: {kind: plain, bias: true, activation: config.afn, width: '4 * config.hidden_size'}"),
        ("gpt_neo", "dropout: {residual: config.resid_dropout, embedding: config.embed_dropout}"),
        ("xglm", "mlp: {kind: plain, bias: true, width: config.ffn_dim}"),
        # sinks and twice the keys in layers of one kind
        (
            "mimo_v2_flash",
            "attention: {window: config.sliding_window, sinks: true, kv_heads: '2 * config.num_key_value_heads'}",
        ),
        ("beam", "attention: {qk_norm: head, gate: {bias: head}}"),  # one number a head, which is no sink here
        ("opt", "when: config.word_embed_proj_dim != config.hidden_size"),
        ("mpt", "attention: {alibi: true}"),  # which a config inside the config asks for
        # heads of keys by the rows of their projection, in whose groups fused rows lie
        ("falcon", "attention: {kv_heads: 1}"),
        ("falcon", "fused: {query_key_value: [q, k, v]}"),
        # fused rows as they lie in another spec that has a tensor of this name
        ("bloom", "fused: {query_key_value: {parts: [q, k, v], groups: config.num_attention_heads}}"),
    ],
)
def test_without_its_spec_a_draft_reads_what_is_said_otherwise(name, line, checkpoints, tmp_path):
    made = draft(checkpoints(name), tree(tmp_path, without=[name]), write=False)
    assert line in [one.strip() for one in made.text.splitlines()]
