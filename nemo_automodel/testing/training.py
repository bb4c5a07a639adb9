"""Training: the loss falls, dropout and checkpointing change nothing but what they should, runs resume."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from nemo_automodel.parity.compare import compare_fp32
from nemo_automodel.parity.draws import drawing_for_dropouts_alone
from nemo_automodel.parity.end_to_end import measure
from nemo_automodel.parity.reference import disk_names, truth_in_fp64
from nemo_automodel.testing.asserting import all_pass, close
from nemo_automodel.testing.binding import Binding

STEPS = 4


class TrainingContract(Binding):
    def test_loss_falls(self, main, backend):
        model, batch = self.untrained(main, backend), self.batch()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        losses = []
        for _ in range(12):
            loss = model(**batch.inputs, labels=batch.labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0], losses

    def test_every_parameter_learns(self, stored, backend):
        model, batch = self.untrained(stored, backend), self.batch()
        model(**batch.inputs, labels=batch.labels).loss.backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []

    def test_dropout_equals_the_reference(self, dropout, backend):
        """In train mode, from one seed: the same dropouts in the same places draw the same numbers."""
        reference, ours, batch = self.given(dropout), self.fresh(dropout, backend), self.batch()
        losses = []
        for model in (ours, reference.model):
            model.train()
            torch.manual_seed(5)
            with torch.no_grad(), drawing_for_dropouts_alone():
                losses.append(model(**batch.inputs, labels=batch.labels).loss)
            model.eval()
        close(*losses)
        with torch.no_grad():
            at_rest = reference.model(**batch.inputs, labels=batch.labels).loss
        assert (losses[1] != at_rest) == dropout.startswith("dropout")

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_gradient_checkpointing(self, main, backend, reentrant):
        model, batch = self.fresh(main, backend), self.batch("left")
        plain = measure(model, batch)
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        loss = model(**batch.inputs, labels=batch.labels).loss
        loss.backward()
        close(loss.detach(), plain["loss"])
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        mine = {f"gradient of {name}": gradient for name, gradient in disk_names(model, gradients).items()}

        def truth():
            with truth_in_fp64():
                return measure(self.given(main).in_fp64, batch)

        all_pass(compare_fp32("checkpointing", mine, {name: plain[name] for name in mine}, truth))

    def test_checkpointing_keeps_no_cache(self, main):
        model, batch = self.fresh(main).train(), self.batch()
        model.gradient_checkpointing_enable()
        assert model(**batch.inputs, labels=batch.labels).past_key_values is None

    def test_trainer_resumes(self, backend, tmp_path):
        """A run that was cut in half ends with the weights of one that was not."""
        whole = self.trainer(backend, tmp_path / "whole")
        whole.train()
        torch.manual_seed(1)  # a resumed run must not owe anything to its own start
        resumed = self.trainer(backend, tmp_path / "whole", seed=1)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{STEPS // 2}"))
        wanted = dict(whole.model.named_parameters())
        for name, parameter in resumed.model.named_parameters():
            close(parameter.detach(), wanted[name].detach())

    def trainer(self, backend, folder, seed=0):
        model = self.untrained(backend=backend)
        if seed:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=STEPS,
            save_steps=STEPS // 2,
            per_device_train_batch_size=self.rows_a_step,
            learning_rate=1e-3,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_num_workers=0,
        )
        return Trainer(model=model, args=arguments, **self.examples())

    rows_a_step = 2

    def examples(self):
        """What a Trainer reads, and how it makes a batch of it."""
        return {"train_dataset": [{"input_ids": row, "labels": row} for row in self.batch().ids.repeat(STEPS, 1)]}
