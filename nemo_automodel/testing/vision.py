"""What a model that takes images promises, beside what every model does; and what it promises otherwise."""

import copy
import re
from dataclasses import replace

import pytest
import torch

from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM, NeMoAutoModelForImageTextToText
from nemo_automodel._transformers.lookup import resolve_type
from nemo_automodel.parity import end_to_end
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.bits import differing
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.images import features
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.pictures import COUNTS
from nemo_automodel.parity.reference import Reference, build, disk_names, stored_tensors
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding, summed_alike
from nemo_automodel.testing.interface import configs_of

CONFIGS = ("variant", "stored", "main", "value", "dropout")  # parameters of tests that name a config


class VisionContract(Binding):
    auto_class = NeMoAutoModelForImageTextToText
    # of text alone, and held by the contract of the text model
    test_packed_sequences = test_whether_the_reference_takes_positions = test_masks_as_a_dict = None
    searched = "short"  # transformers mixes several images of a text up among its beams
    # towers are transformers' own, and hold tables of angles
    test_built_on_meta = None

    @pytest.fixture(autouse=True)
    def _variant(self, request):
        """How many rows an image makes may be another in each."""
        given = getattr(getattr(request.node, "callspec", None), "params", {})
        self.drawn_for = next((given[name] for name in CONFIGS if name in given), "base")

    def pixels(self, batch):
        """The fields of images alone, pixels first."""
        fields = self.ours().model.image_fields
        return {name: batch.images[name] for name in fields if name in batch.images}

    def drawn(self, count, seed=1):
        """So many images, each by itself."""
        return self.given().drawing.pictures.drawn(count, seed)

    def together(self, images):
        """Of texts with an image each."""
        return self.given().drawing.pictures.together([[image] for image in images])

    def test_features_equal_the_reference(self, variant, backend):
        images = self.pixels(self.batch("left"))
        with torch.no_grad():
            close(features(self.ours(variant, backend), images), features(self.given(variant).model, images))

    def test_faint_features_equal_the_reference(self):
        """What a norm of the projector adds to their variance counts."""
        reference, images = Reference.faint(self.subject, self.configs["base"]), self.pixels(self.batch("left"))
        ours = build_ours(self.model_class, self.config(), reference.disk, attention=self.attention)
        with torch.no_grad():
            close(features(ours, images), features(reference.model, images))

    def test_images_do_not_see_each_other(self, main):
        """Also where unlike sizes are padded to one."""
        model, images = self.ours(main), self.drawn(3)
        with torch.no_grad():
            alone = torch.cat([features(model, image) for image in images])
            close(features(model, self.together(images)), alone)

    def test_the_towers_names_on_disk_are_of_tensors(self):
        """A name of which the tower has nothing would be forgotten by whoever renames the class's own."""
        adapter, model = self.ours().state_dict_adapter, self.ours()
        inside = [f".{name}." for name in model.model.get_submodule(self.tower_path(model)).state_dict()]
        fused = [name for names in adapter.tower_fused.values() for name in names]
        for name in (*adapter.tower_names.values(), *fused, *adapter.tower_pairs):
            assert any(f".{name}." in one for one in inside), name

    def test_what_is_dropped_is_no_error(self, tmp_path):
        """Tensors of the reference's own files that the spec drops."""
        patterns = vars(type(self.ours().model)).get("_keys_to_ignore_on_load_unexpected", ())
        whole = self.given().translated(build(self.subject.reference_class, self.config()))
        stored = disk_names(whole, stored_tensors(whole)).items()
        beyond = {name: t.clone() for name, t in stored if any(re.search(pattern, name) for pattern in patterns)}
        assert bool(beyond) == bool(patterns)
        self.write(tmp_path, {name: t.clone() for name, t in self.given().disk.items()} | beyond)
        model = self.auto_class.from_pretrained(tmp_path, attn_implementation="eager").eval()
        close(self.logits(model, self.batch()), self.logits(self.given().model, self.batch()))

    def test_a_text_sees_its_own_images(self, main):
        """Other pixels in the first image change the logits from its place on, and those of no other text."""
        model, batch = self.ours(main), self.batch("left")
        name = model.model.image_fields[0]
        pixels = batch.images[name].clone()
        pixels[:1] += pixels[:1] != 0  # where there is padding, there is no picture
        changed = Batch(batch.ids, batch.mask, batch.labels, {**batch.images, name: pixels})
        before, after = (self.rows(model, one) for one in (batch, changed))
        assert distance(after[0], before[0]) > 1e-3
        for row in range(1, len(before)):
            close(after[row], before[row])

    def cut(self):
        """What batches are drawn from where images mean the same whether a text has one or several."""
        drawing = self.given(self.drawn_for).drawing
        fields = tuple(name for name in drawing.pictures.fields if name != COUNTS)
        return replace(drawing, pictures=replace(drawing.pictures, fields=fields))

    def rows(self, model, batch):
        """Logits of each text, where it has tokens."""
        with torch.no_grad():
            logits = model(**batch.inputs).logits
        return [text[real] for text, real in zip(logits, batch.real, strict=True)]

    @pytest.mark.parametrize("change", [1, -1, "no image", "no text"])
    def test_other_numbers_of_placeholders_are_an_error(self, change):
        model, batch = self.ours(), self.batch("short")
        ids, images = batch.ids.clone(), dict(batch.images)
        places = (ids[0] == model.model.image_token).nonzero()[:, 0]
        if change == "no image":
            images |= self.together(self.drawn(2))
        elif change == "no text":
            ids[0, places] = 5
        else:
            ids[0, places[-1] + (change == 1)] = model.model.image_token if change == 1 else 5
        with pytest.raises(ValueError, match="placeholders|image tokens"):
            model(input_ids=ids, **images)

    def test_placeholders_without_pixels(self, main):
        """Mean what the reference makes of them, where it makes anything of ids beyond the vocabulary."""
        batch = self.batch("left")
        bare = Batch(batch.ids, batch.mask, batch.labels)
        ours = self.logits(self.ours(main), bare)
        assert ours.isfinite().all()
        token = self.ours(main).model.image_token
        if token < self.config(main).get_text_config().vocab_size or not self.raises(main, bare):
            close(ours, self.logits(self.given(main).model, bare))

    def test_types_of_tokens_count_for_prefixes_alone(self, main):
        """Some tokenizers give them with every text."""
        batch = self.given(main).drawing.typed(self.batch("left"))
        close(self.logits(self.ours(main), batch), self.logits(self.given(main).model, batch))

    def raises(self, main, batch):
        try:
            self.logits(self.given(main).model, batch)
        except (IndexError, ValueError):
            return True
        return False

    @pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=["greedy", "beams"])
    def test_the_tower_runs_once(self, options):
        """However many tokens and continuations are made of a prompt, and over no more than in one forward pass."""
        model, batch, sizes = self.fresh(), self.batch("left"), []
        kinds = torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Unfold  # what cuts pictures in patches
        first = next(module for module in model.modules() if isinstance(module, kinds))
        first.register_forward_hook(lambda module, args, output: sizes.append(output.shape))
        with torch.no_grad():
            model(**batch.inputs)
            once = [*sizes]
            model.generate(**{**batch.inputs, "attention_mask": batch.real.long()}, max_new_tokens=4, **options)
        assert len(once) == 1 and sizes == 2 * once

    def test_a_conversation_goes_on_from_its_cache(self, main):
        """A second image in what is added to a cache means what it means in the whole text."""
        model, batch = self.ours(main), self.cut().batches()["plain"]
        first, second = self.cut().pictures.drawn(3, 1)[1:]
        count = len(features(model, first)) + 12
        whole = Batch(batch.ids, None, batch.labels, batch.images)
        with torch.no_grad():
            wanted = model(**whole.inputs, use_cache=False).logits
            begun = model(input_ids=batch.ids[:, :count], use_cache=True, **self.beside(batch, 0, count), **first)
            cache = begun.past_key_values
            more = self.beside(batch, count, batch.ids.shape[1])
            went_on = model(input_ids=batch.ids[:, count:], past_key_values=cache, **more, **second)
        if not model.model.token_fields:  # a prefix that goes on is not the same as a whole one
            close(torch.cat((begun.logits, went_on.logits), dim=1), wanted)

    def test_continuations_see_their_own_images(self):
        """Beams of several texts, each with its images, write what they write of each text alone."""
        model, options = self.fresh(), {"num_beams": 3, "num_return_sequences": 2}
        batch = self.batch("left")
        found = end_to_end.greedy(model, batch, **options)
        wanted = [end_to_end.greedy(model, text, **options) for text in batch.alone()]
        assert torch.equal(found, torch.cat(wanted))

    def beside(self, batch, start, end):
        """What is said of each of these ids."""
        shape = batch.ids.shape
        return {name: value[:, start:end] for name, value in batch.images.items() if value.shape == shape}

    def test_a_frozen_tower_stays(self, backend):
        """Bit for bit, while the rest learns as it does beside one that is not."""
        batch = self.batch("left")
        free, frozen = self.fresh(backend=backend), self.fresh(backend=backend)
        tower = frozen.model.get_submodule(self.tower_path(frozen))
        tower.requires_grad_(False)
        before = copy.deepcopy(tower.state_dict())
        optimizer = torch.optim.AdamW(frozen.parameters(), lr=0.1, weight_decay=0.1)
        for model in (free, frozen):
            model(**batch.inputs, labels=batch.labels).loss.backward()
        optimizer.step()
        assert all(torch.equal(tensor, before[name]) for name, tensor in tower.state_dict().items())
        wanted = dict(free.named_parameters())
        for name, parameter in frozen.named_parameters():
            assert parameter.requires_grad or parameter.grad is None
            if parameter.grad is not None:
                close(parameter.grad, wanted[name].grad)

    def tower_path(self, model):
        """Where its tower lies in the base model."""
        return model.state_dict_adapter.tower_path.removeprefix(f"{model.base_model_prefix}.")

    def test_checkpointing_reaches_the_tower(self):
        model = self.fresh().train()
        model.gradient_checkpointing_enable()
        tower = model.model.get_submodule(self.tower_path(model))
        switched = [module for module in tower.modules() if hasattr(module, "gradient_checkpointing")]
        assert switched and all(module.gradient_checkpointing for module in switched)

    def test_the_text_half_alone(self, main):
        """Is loaded by the causal entry point; where the text has no class of its own, that names the other one."""
        folder, load = self.given(main).folder, NeMoAutoModelForCausalLM.from_pretrained
        ours = self.ours(main)
        if not (ours.text_class or resolve_type(ours.config.get_text_config().model_type)):
            with pytest.raises(ValueError, match="use NeMoAutoModelForImageTextToText"):
                load(folder)
            return
        half, batch = load(folder, attn_implementation=self.attention), self.batch("text")
        given = {"input_ids": batch.ids, "attention_mask": batch.mask}
        with torch.no_grad():
            found = half.base_model(**given).last_hidden_state
            wanted = self.given(main).model.get_decoder()(**given).last_hidden_state
        close(found[batch.real], wanted[batch.real])
        assert torch.equal(half.get_output_embeddings().weight, ours.lm_head.weight)

    # what a model of text alone promises otherwise

    def test_bf16_equals_the_reference_bit_for_bit(self, main):
        """But for projectors that get rows one after the other: they are within the bound of the tests above."""
        ours, reference = self.ours(main, "split", torch.bfloat16), self.given(main).in_bf16
        assert not differing(summed_alike(ours, reference), reference, self.batch())

    def test_embeddings_in_place_of_ids(self, main, backend):
        """Placeholders are found by their embedding, where that is their own."""
        model, batch = self.ours(main, backend), self.batch("left")
        ids = model.model.lookup(batch.ids)
        with torch.no_grad():
            given = {"inputs_embeds": model.get_input_embeddings()(ids), "attention_mask": batch.mask, **batch.images}
            if torch.equal(ids, batch.ids):
                close(model(**given).logits[batch.real], self.logits(model, batch))
            else:
                with pytest.raises(ValueError, match="give input_ids"):
                    model(**given)

    def test_every_parameter_learns(self, stored, backend):
        """That the reference has a use for: not the last layers of a tower of which an earlier one is taken."""
        unused = []
        for model in (self.fresh(stored, backend), copy.deepcopy(self.given(stored).model)):
            batch = self.batch()
            model(**batch.inputs, labels=batch.labels).loss.backward()
            names = {name for name, parameter in model.named_parameters() if parameter.grad is None}
            unused.append(names)
        assert unused[0] == unused[1]

    def test_base_model_is_reachable(self):
        model = self.ours()
        assert model.base_model is model.model
        assert model.get_decoder() is self.text_model(model)

    def text_model(self, model):
        return model.get_submodule(model.state_dict_adapter.text_path)

    def test_config_is_shared(self):
        """Every part reads the config that belongs to it."""
        model = self.ours()
        assert set(map(id, configs_of(self.text_model(model)))) == {id(model.config.text_config)}
        assert model.model.config is model.config

    def test_no_buffer_is_derived(self, stored):
        """But by transformers' towers."""
        theirs = {name for name, _ in self.given(stored).model.named_buffers()}
        model = self.ours(stored)
        assert {name for name, _ in model.named_buffers()} <= set(model.state_dict()) | theirs

    def test_no_split_modules_names_the_layers(self, stored):
        base = self.ours(stored).base_model
        assert {type(layer).__name__ for layer in base.decoder_layers} <= set(base._no_split_modules)
        assert set(type(base)._no_split_modules or ()) <= {type(module).__name__ for module in base.modules()}

    def of_text(self, disk):
        adapter = self.ours().state_dict_adapter
        sources = adapter.sources(disk).items()
        of_text = [source for path, source in sources if path.startswith(f"{adapter.text_path}.")]
        return {name: disk[name] for source in of_text for part in source.names for name in part}

    rows_a_step = 1

    def examples(self):
        batch = self.batch("short")
        given = {name: value for name, value in batch.inputs.items() if value is not None}
        return {"train_dataset": [{**given, "labels": batch.labels}] * 8, "data_collator": lambda rows: rows[0]}
