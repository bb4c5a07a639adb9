"""Level 1 of the proof, and what lies around it: loading, saving, tying, dtypes, weights before training."""

import copy
import json
import pickle
import re

import torch

from nemo_automodel.parity import end_to_end, state_dict
from nemo_automodel.parity.reference import build, disk_names, stored_tensors
from nemo_automodel.testing.asserting import all_pass, close
from nemo_automodel.testing.binding import Binding

STARTS = 8  # of a model, for what a standard deviation of few drawn numbers says


def halves(tensor, whole):
    """What each of two ranks has of a tensor: rows of it, or, where tensors lie below one another, rows of each."""
    parts = [value for _, value in whole]
    if sum(map(len, parts)) == len(tensor) and torch.equal(torch.cat(parts), tensor):
        return [torch.cat(half) for half in zip(*(part.chunk(2) for part in parts), strict=True)]
    return tensor.chunk(2)


def every_name(model):
    """Names of parameters, those of one that has several too."""
    return dict(model.named_parameters(remove_duplicate=False))


class CheckpointContract(Binding):
    def load(self, folder, backend, **options):
        return self.auto_class.from_pretrained(
            folder, backend={"projections": backend}, attn_implementation="eager", **options
        )

    def on_disk(self, model):
        return disk_names(model, dict(model.state_dict()))

    def test_adapter_round_trip(self, stored, backend):
        all_pass(state_dict.compare(self.ours(stored, backend), self.given(stored).disk))

    def test_from_pretrained_takes_every_tensor(self, stored, backend):
        reference = self.given(stored)
        model = self.load(reference.folder, backend)
        assert type(model) is self.model_class
        assert not model.training
        assert not state_dict.differences(self.on_disk(model), reference.disk)

    def test_from_pretrained_takes_shards(self, backend, tmp_path):
        reference = self.given()
        reference.save(tmp_path, max_shard_size="40KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 2
        assert not state_dict.differences(self.on_disk(self.load(tmp_path, backend)), reference.disk)

    def test_saving_in_shards_keeps_the_names(self, backend, tmp_path):
        self.fresh(backend=backend).save_pretrained(tmp_path, max_shard_size="40KB")
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["weight_map"].keys() == self.given().disk.keys()
        assert not state_dict.differences(state_dict.read(tmp_path), self.given().disk)

    def test_reference_loads_what_we_save(self, stored, backend):
        all_pass(end_to_end.compare_saved(self.given(stored), self.fresh(stored, backend), self.batch()))

    def test_saving_a_model_that_was_never_loaded(self, main, backend, tmp_path):
        """transformers takes the names from what was loaded; a packed model from scratch would write memory names."""
        model = self.untrained(main, backend).eval()
        model.save_pretrained(tmp_path)
        shapes = {name: tensor.shape for name, tensor in state_dict.read(tmp_path).items()}
        assert shapes == {name: tensor.shape for name, tensor in self.given(main).disk.items()}
        back, problems = end_to_end.load_elsewhere(self.given(main), tmp_path)
        assert not problems
        close(self.logits(model, self.batch()), self.logits(back, self.batch()))

    def test_older_readers_find_their_rope_keys(self, variant, tmp_path):
        """And transformers reads the same config, and writes it again without another key of ours."""
        config = self.config(variant)
        with torch.device("meta"):
            model = self.model_class(config)
        model.save_pretrained(tmp_path, state_dict={})
        written, rope = json.loads((tmp_path / "config.json").read_text()), getattr(config, "rope_parameters", None)
        again = type(config).from_pretrained(tmp_path)
        assert getattr(again, "rope_parameters", None) == rope
        written_by_us = {"architectures", "dtype", "rope_theta", "rope_scaling"}
        before = {key: value for key, value in config.to_dict().items() if key not in written_by_us}
        assert {key: value for key, value in again.to_dict().items() if key in before} == before
        if rope and "rope_theta" in rope:
            assert written["rope_theta"] == rope["rope_theta"]
            assert written.get("rope_scaling") == (None if rope["rope_type"] == "default" else rope)
        assert config.to_dict().keys() == self.config(variant).to_dict().keys()

    def test_a_gathered_copy_of_a_tied_head_is_not_written(self, main, tmp_path):
        """Sharded runs hand over every name with a tensor of its own."""
        model = self.ours(main)
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.save_pretrained(tmp_path, state_dict=state)
        assert state_dict.read(tmp_path).keys() == self.given(main).disk.keys()

    def test_shards_convert_like_wholes(self, main):
        """Under tensor parallelism a rule sees the rows of a rank, here of the first or second half of the KV heads."""
        model = self.ours(main, "packed")
        adapter = model.state_dict_adapter
        for name, tensor in model.state_dict().items():
            whole = adapter.convert_single_tensor_to_hf(name, tensor)
            if len(whole) > 1:
                shards = [adapter.convert_single_tensor_to_hf(name, shard) for shard in halves(tensor, whole)]
                if len(shards[0]) < len(whole):  # half of the experts each, of which every one has its tensors
                    assert_same_order(whole, [pair for shard in shards for pair in shard])
                    continue
                for place, (disk_name, value) in enumerate(whole):
                    joined = torch.cat([shard[place][1] for shard in shards])
                    assert torch.equal(joined, value), disk_name

    def test_load_state_dict_takes_disk_names(self, main, backend):
        """The Trainer resumes with them, and does not ask strictly."""
        model = self.untrained(main, backend).eval()
        found = model.load_state_dict(self.given(main).disk, strict=False)
        assert not found.unexpected_keys
        assert set(found.missing_keys) <= set(model.all_tied_weights_keys)
        assert not state_dict.differences(self.on_disk(model), self.given(main).disk)

    def test_tying_is_the_references(self, stored, backend):
        """By the config, but for classes that never tie."""
        reference = self.given(stored)
        model = self.load(reference.folder, backend)
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert tied == (len(dict(reference.model.named_parameters())) < len(every_name(reference.model)))

    def test_dtype_on_load(self, backend):
        """As transformers loads its own class: half precision, but for what must stay fp32."""
        reference = self.given()
        model = self.load(reference.folder, backend, dtype=torch.bfloat16)
        wanted = disk_names(reference.in_bf16, stored_tensors(reference.in_bf16))
        assert {name: tensor.dtype for name, tensor in self.on_disk(model).items()} == {
            name: tensor.dtype for name, tensor in wanted.items()
        }

    def test_no_buffer_is_derived(self, stored):
        """Tables of angles as buffers are lost on `meta` and rounded by `.to(bfloat16)`; what is stored may be one."""
        model = self.ours(stored)
        assert {name for name, _ in model.named_buffers()} <= set(model.state_dict())

    def test_built_on_meta(self, main, backend):
        with torch.device("meta"):
            model = self.model_class(self.config(main), backend={"projections": backend})
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
        model = model.to_empty(device="cpu").eval()
        model.load_state_dict(self.given(main).disk, strict=False)
        model.tie_weights()
        model.set_attn_implementation("eager")
        close(self.logits(model, self.batch()), self.logits(self.given(main).model, self.batch()))

    def test_start_values_equal_the_reference(self, main, backend):
        """Norms start where the reference's do (an offset norm at zero, not at one), biases too, matrices small or as
        widely spread, and vectors that are drawn as widely. (Some references leave a router at zero, where no expert
        can differ.)
        """
        wanted, again = self.starts(main, seed=1), self.starts(main, seed=2)
        drawn = set()
        for name, tensor in self.on_disk(self.untrained(main, backend)).items():
            is_fixed, is_vector = torch.equal(wanted[name], again[name]), tensor.numel() == max(tensor.shape, default=1)
            if is_fixed and is_vector:
                assert torch.equal(tensor, wanted[name]), name
            elif not is_vector:
                small = 0.001 < tensor.float().std() < 0.2
                alike = 0.5 < tensor.float().std() / wanted[name].float().std() < 2
                assert small or alike or is_fixed and torch.equal(tensor, wanted[name]), name
            else:
                drawn.add(name)
        ours = self.spreads(drawn, lambda seed: self.on_disk(self.untrained(main, backend, seed=seed)))
        theirs = self.spreads(drawn, lambda seed: self.starts(main, seed))
        assert not [kind for kind in ours if not 0.5 < ours[kind] / theirs[kind] < 2]

    def spreads(self, names, start):
        """Standard deviations of vectors by kind, over so many starts that chance does not tell two apart."""
        pooled = {}
        for tensors in map(start, range(STARTS if names else 0)):
            for name in names:
                pooled.setdefault(re.sub(r"\d+", "*", name), []).append(tensors[name])
        return {kind: torch.cat(vectors).std().item() for kind, vectors in pooled.items()}

    def starts(self, variant, seed):
        torch.manual_seed(seed)
        return self.stored_by(build(self.subject.reference_class, self.config(variant)))

    def stored_by(self, reference):
        return disk_names(self.given().translated(reference), stored_tensors(reference))

    def test_whether_the_reference_writes_published_names(self, tmp_path):
        """What the spec says under `tests.disk`: an exception that is not needed goes red."""
        self.given().model.save_pretrained(tmp_path)
        assert (state_dict.read(tmp_path).keys() == self.given().disk.keys()) == (self.disk == "written")

    def test_one_missing_weight_is_initialised(self, backend, tmp_path):
        """The class itself is lenient, as transformers' tools need it: what is missing starts as in a new model."""
        reference = self.given()
        layer = {name: tensor for name, tensor in reference.disk.items() if ".0." in name}
        vectors = [name for name, tensor in layer.items() if tensor.dim() == 1]  # some families have no norm's weights
        sources = self.ours(backend=backend).state_dict_adapter.sources(vectors or list(layer))
        inside, missing = next((name, made.name) for name, made in sources.items() if made.rule is None)
        kept = {name: tensor for name, tensor in reference.disk.items() if name != missing}
        self.write(tmp_path, kept)
        model, info = self.model_class.from_pretrained(
            tmp_path, backend={"projections": backend}, output_loading_info=True
        )
        assert info["missing_keys"] == {inside}
        start = build(self.subject.reference_class, self.config())
        wanted, loaded = self.stored_by(start)[missing], self.on_disk(model)
        assert torch.equal(loaded[missing], wanted) if vectors else 0.001 < loaded[missing].std() < 0.2
        assert not state_dict.differences({name: loaded[name] for name in kept}, kept)

    def test_pickle_and_copy(self, main, backend):
        model, batch = self.fresh(main, backend), self.batch()
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert torch.equal(self.logits(twin, batch), self.logits(model, batch))
            assert not state_dict.differences(self.on_disk(twin), self.given(main).disk)


def assert_same_order(whole, parts):
    """Tensors of experts, which a shard counts from its own first."""
    by_part = {}
    for name, value in parts:
        by_part.setdefault(re.sub(r"\b\d+\b", "*", name), []).append(value)
    for name, value in whole:
        assert torch.equal(value, by_part[re.sub(r"\b\d+\b", "*", name)].pop(0)), name
