"""What a model may be called with: embeddings, positions, packed sequences, ready masks, parts of the logits."""

import copy
from dataclasses import replace

import pytest
import torch

from nemo_automodel.components.models.common.attention import Attention
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.padding import leaking
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding


def attends(layer):
    """Whether it is one of those whose weights a model gives."""
    return any(isinstance(module, Attention) for module in layer.modules())


def in_eager(model):
    """A copy, for its weights: what a padded batch is given is the same in every implementation."""
    model = copy.deepcopy(model)
    model.config._attn_implementation = "eager"  # `set_attn_implementation` leaves some classes as they are (Falcon)
    return model


class InputsContract(Binding):
    def test_embeddings_in_place_of_ids(self, main, backend):
        model, batch = self.ours(main, backend), self.batch("left")
        with torch.no_grad():
            embeds = model.get_input_embeddings()(batch.ids)
            out = model(inputs_embeds=embeds, attention_mask=batch.mask, **batch.images).logits[batch.real]
        close(out, self.logits(model, batch))

    def test_embeddings_mean_what_they_mean_to_the_reference(self, main):
        """A family that scales its embeddings inside the lookup does not scale what it is given."""
        batch = self.batch()
        width = self.ours(main).get_input_embeddings().weight.shape[-1]
        embeds = torch.randn(*batch.ids.shape, width, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            ours, theirs = (m(inputs_embeds=embeds).logits for m in (self.ours(main), self.given(main).model))
        close(ours, theirs)

    def test_ids_or_embeddings_but_not_both(self):
        model, ids = self.ours(), self.batch().ids[:, :4]
        with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
            model()
        with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
            model(input_ids=ids, inputs_embeds=model.get_input_embeddings()(ids))

    def alone(self, model, batch):
        """Logits of each text by itself, one after the other."""
        return torch.cat([self.logits(model, text) for text in batch.alone()])

    def test_given_positions(self, main, backend):
        """As the reference takes them; one that counts for itself can be asked only where counting is right."""
        model, reference, batch = self.ours(main, backend), self.given(main).model, self.batch()
        if self.positions != "given":
            batch = self.batch("left")
            close(self.logits(model, batch, position_ids=batch.positions), self.alone(reference, batch))
        else:
            positions = torch.arange(batch.ids.shape[1]).flip(0)[None] + 2
            batch = replace(batch, mask=torch.ones_like(batch.ids))  # without a mask, they may tell texts apart
            ours = self.logits(model, batch, position_ids=positions)
            close(ours, self.logits(reference, batch, position_ids=positions))

    def test_whether_the_reference_takes_positions(self):
        """What the spec says under `tests.positions`: an exception that is not needed, or is missing, goes red."""
        reference, batch = self.given().model, self.batch("left")
        alone = self.alone(reference, batch)
        with leaking(reference):
            error = distance(self.logits(reference, batch, position_ids=batch.positions), alone)
        assert (error <= FP32) == (self.positions == "given"), error

    def test_packed_sequences(self, main, backend):
        """Positions that start anew begin a new sequence, which does not see the one before."""
        model, (first, second) = self.ours(main, backend), self.batch().ids[:, :17].split(1)
        second = second[:, :7]
        positions = torch.cat([torch.arange(17), torch.arange(7)])[None]
        with torch.no_grad():
            packed = model(torch.cat((first, second), dim=1), position_ids=positions, use_cache=False).logits
            close(packed[:, :17], model(first).logits)
            close(packed[:, 17:], model(second).logits)

    def test_masks_as_a_dict(self, main, backend):
        """`generate` hands over masks that it made ahead of a static cache, by kind."""
        model, batch = self.ours(main, backend), self.batch("left")
        with torch.no_grad():
            embeds = model.get_input_embeddings()(batch.ids)
            counted = model.base_model._positions_from_mask  # of a mask that only the caller has
            positions = batch.positions if counted else torch.arange(batch.ids.shape[1])[None]
            masks = model.create_masks_for_generate(
                config=model.config,
                inputs_embeds=embeds,
                attention_mask=batch.mask,
                past_key_values=None,
                position_ids=positions,
            )
            assert isinstance(masks, dict)
            out = model(batch.ids, attention_mask=masks, position_ids=positions, use_cache=False).logits[batch.real]
        close(out, self.logits(model, batch))

    @pytest.mark.parametrize("kept", [1, 5, torch.tensor([0, 3, 11])], ids=["last", "some", "places"])
    def test_logits_to_keep(self, main, kept):
        model, batch = self.ours(main), self.batch()
        with torch.no_grad():
            out = model(**batch.inputs, logits_to_keep=kept).logits
            whole = model(**batch.inputs).logits
        close(out, whole[:, kept] if isinstance(kept, torch.Tensor) else whole[:, -kept:])

    def test_hidden_states_and_attentions(self, main, backend):
        model, reference, batch = self.ours(main, backend), self.given(main).model, self.batch("left")
        wanted = self.logits(reference, batch)
        if self.attention != "eager":  # which gives no weights
            model, reference = map(in_eager, (model, reference))
        close(self.logits(model, batch), wanted)
        with torch.no_grad():
            out = model(**batch.inputs, output_hidden_states=True, output_attentions=True)
        assert len(out.hidden_states) == self.config(main).get_text_config().num_hidden_layers + 1
        assert len(out.attentions) == sum(map(attends, model.base_model.decoder_layers))
        if not out.attentions:
            return
        comparable = self.in_transformers and distance(self.logits(reference, batch), wanted) <= FP32
        if comparable:  # Falcon's eager attention adds ALiBi twice: its weights are another model's
            with torch.no_grad():
                theirs = reference(**batch.inputs, output_attentions=True).attentions
            layers = model.base_model.decoder_layers
            if len(theirs) == len(layers):  # some give the states of other mixers out as weights
                theirs = [weights for weights, layer in zip(theirs, layers, strict=True) if attends(layer)]
            for ours_weights, their_weights in zip(out.attentions, theirs, strict=True):
                rows = batch.real[:, None, :, None].expand_as(their_weights)
                close(ours_weights[rows], their_weights[rows])
        else:
            for weights in out.attentions:
                sums = weights.sum(-1).transpose(1, 2)[batch.real]
                close(sums, torch.ones_like(sums))

    def test_outputs_as_a_tuple(self):
        model, batch = self.ours(), self.batch()
        with torch.no_grad():
            out = model(**batch.inputs, use_cache=False, return_dict=False)
        assert isinstance(out, tuple)
        close(out[0], self.logits(model, batch).view_as(out[0]))
