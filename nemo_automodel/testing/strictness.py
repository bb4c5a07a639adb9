"""No weight is lost quietly: a tensor that nothing uses, or that the checkpoint lacks, is an error on loading."""

import re

import pytest
import torch

from nemo_automodel.parity import state_dict
from nemo_automodel.parity.leftovers import left_out
from nemo_automodel.parity.reference import disk_names
from nemo_automodel.testing.binding import Binding


class StrictnessContract(Binding):
    def first_parts(self, backend):
        """Disk names of layer 0, one for each tensor in memory: the first of its parts."""
        model = self.ours("base", backend)
        adapter = model.state_dict_adapter
        parts = [adapter.convert_single_tensor_to_hf(name, tensor) for name, tensor in model.state_dict().items()]
        return [part[0][0] for part in parts if ".0." in part[0][0]]

    def test_a_missing_tensor_is_an_error(self, backend, tmp_path):
        disk = self.given().disk
        for number, victim in enumerate(self.first_parts(backend)):
            folder = tmp_path / str(number)
            self.write(folder, {name: tensor for name, tensor in disk.items() if name != victim})
            with pytest.raises(Exception) as caught:
                self.auto_class.from_pretrained(folder, backend={"projections": backend})
            assert victim.rpartition(".")[0].rpartition(".")[2] in str(caught.value), victim

    def test_an_unexpected_tensor_is_an_error(self, backend, tmp_path):
        self.write(tmp_path, self.given().disk | {"model.layers.0.extra.weight": torch.ones(3)})
        with pytest.raises(ValueError, match="extra"):
            self.auto_class.from_pretrained(tmp_path, backend={"projections": backend})

    def test_layers_beyond_the_last_are_left_out_and_said(self, backend, tmp_path):
        """Next-token-prediction layers stand at num_hidden_layers and above: those of a whole layer, and more."""
        disk, count = self.given().disk, self.config().get_text_config().num_hidden_layers
        layer = re.compile(rf"((?:[A-Za-z_]\w*\.)+){count - 1}(\..*)")
        beyond = {
            f"{m[1]}{n}{m[2]}": t.clone()
            for name, t in self.of_text(disk).items()
            if (m := layer.fullmatch(name))
            for n in (count, 61)
        }
        prefix = next(iter(beyond)).partition(f".{count}.")[0]
        beyond[f"{prefix}.{count}.eh_proj.weight"] = torch.ones(3, 2)
        self.write(tmp_path, disk | beyond)
        model, info = self.auto_class.from_pretrained(
            tmp_path, backend={"projections": backend}, output_loading_info=True
        )
        assert info["left_out_keys"] == set(beyond)
        assert not state_dict.differences(disk_names(model, dict(model.state_dict())), disk)

    def of_text(self, disk):
        """The tensors of the text model."""
        return disk

    def test_what_the_reference_leaves_out(self, backend, tmp_path):
        """Buffers that published checkpoints hold and transformers ignores are no error."""
        reference = self.given()
        self.write(tmp_path, reference.disk | {name: torch.ones(2) for name in left_out(reference)})
        self.auto_class.from_pretrained(tmp_path, backend={"projections": backend})

    def test_another_shape_is_an_error(self, backend, tmp_path):
        victim = self.first_parts(backend)[0]
        disk = dict(self.given().disk)
        disk[victim] = torch.cat((disk[victim], disk[victim]))
        self.write(tmp_path, disk)
        with pytest.raises((ValueError, RuntimeError)):
            self.auto_class.from_pretrained(tmp_path, backend={"projections": backend})
