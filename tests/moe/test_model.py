"""Experts inside of a whole model: transformers' losses, padding, checkpointing, Trainer."""

from types import MethodType

import pytest
import torch
from transformers import Qwen3MoeForCausalLM, Trainer, TrainingArguments

from nemo_automodel.components.moe.balance import MoEBalanceCallback, load_metrics, routers
from tests.moe.tiny import TinyForCausalLM, tiny_config


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def batch(rows=3, length=9):
    ids = torch.randint(1, 61, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, :4], mask[1, 7:] = 0, 0  # one row is padded on the left, one on the right
    return ids, mask


def pair(**fields):
    theirs = Qwen3MoeForCausalLM._from_config(tiny_config(**fields), attn_implementation="eager")
    ours = TinyForCausalLM._from_config(tiny_config(**fields), attn_implementation="eager")
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_logits_aux_loss_and_gradients_equal_transformers():
    ours, theirs = pair()
    ids, mask = batch()
    before = torch.cat([mask[:, :1], mask[:, :-1]], dim=1)  # what padding would predict is no label
    labels = ids.masked_fill(mask * before == 0, -100)
    outputs = [m(ids, attention_mask=mask, labels=labels, output_router_logits=True) for m in (ours, theirs)]
    real = mask.bool()
    torch.testing.assert_close(outputs[0].logits[real], outputs[1].logits[real], atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(outputs[0].aux_loss, outputs[1].aux_loss, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss, atol=1e-6, rtol=1e-6)
    assert len(outputs[0].router_logits) == 2
    for output in outputs:
        output.loss.backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=2e-6, rtol=1e-4, msg=name)


def test_a_padded_batch_gives_each_sequence_what_it_gets_alone():
    ours, _ = pair()
    ids, mask = batch()
    together = ours(ids, attention_mask=mask).logits
    for row in range(len(ids)):
        alone = ours(ids[row : row + 1, mask[row].bool()]).logits[0]
        torch.testing.assert_close(together[row, mask[row].bool()], alone, atol=2e-6, rtol=2e-6)


def test_padding_reaches_no_expert():
    ours, _ = pair()
    ids, mask = batch()
    ours.train()(ids, attention_mask=mask)
    for router in routers(ours).values():
        assert router.load.sum() == 2 * mask.sum()


@pytest.mark.parametrize("reentrant", [False, True])
def test_replayed_forwards_see_their_own_mask(reentrant):
    ours, _ = pair()
    ours.train()
    ids, mask = batch()

    def gradients(checkpointing):
        ours.zero_grad()
        if checkpointing:
            ours.gradient_checkpointing_enable({"use_reentrant": reentrant})
        losses = [ours(i, attention_mask=m, labels=i).loss for i, m in ((ids, mask), (ids.flip(0), mask.flip(1)))]
        sum(losses).backward()
        return [p.grad.clone() for p in ours.parameters()]

    for plain, replayed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, replayed, atol=1e-6, rtol=1e-5)


def test_generation_with_and_without_cache_agrees():
    ours, theirs = pair()
    ids, mask = torch.randint(1, 61, (2, 5)), torch.ones(2, 5, dtype=torch.long)
    ids[0, :2], mask[0, :2] = 0, 0
    runs = [
        model.eval().generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, use_cache=cache)
        for model, cache in ((ours, True), (ours, False), (theirs, True))
    ]
    assert runs[0].equal(runs[1]) and runs[0].equal(runs[2])


def test_pinned_tensors_survive_bf16_saving_and_loading(tmp_path):
    config = tiny_config()
    config.correction_bias = True
    model = TinyForCausalLM._from_config(config)
    value = torch.randn(8)
    bias = model.model.layers[1].mlp.gate.e_score_correction_bias
    bias.copy_(value)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    config.correction_bias = True
    loaded = TinyForCausalLM.from_pretrained(tmp_path, config=config, dtype=torch.bfloat16)
    for each in (model, loaded, loaded.half(), loaded.to(torch.bfloat16)):
        gate = each.model.layers[1].mlp.gate
        assert gate.e_score_correction_bias.dtype == torch.float32 and gate.e_score_correction_bias.equal(value)
        assert gate.weight.dtype != torch.float32


def test_the_balancing_loss_is_shared_among_micro_batches_by_their_labels():
    """As the Trainer counts: each micro-batch adds its part of one mean, by whatever its labels are."""
    ours, _ = pair()
    ids, labels = torch.randint(1, 61, (2, 3, 9)), torch.randint(1, 61, (2, 3, 9))
    labels[0, :, 4:] = -100
    counts = labels[..., 1:].ne(-100).sum((1, 2))
    shared = zip(ids, labels, counts, strict=True)
    for micro, wanted, count in shared:
        alone, plain = (ours(micro, labels=wanted, output_router_logits=asked) for asked in (True, False))
        part = ours(micro, labels=wanted, output_router_logits=True, num_items_in_batch=counts.sum())
        torch.testing.assert_close(part.loss, alone.loss * count / counts.sum())
        torch.testing.assert_close(alone.loss, plain.loss + 0.1 * alone.aux_loss)
    shifted = torch.cat([labels[0, :, 1:], torch.full((3, 1), -100)], dim=1)
    given = ours(ids[0], labels=labels[0], shift_labels=shifted, output_router_logits=True, num_items_in_batch=100)
    by_itself = ours(ids[0], labels=labels[0], output_router_logits=True, num_items_in_batch=100)
    torch.testing.assert_close(given.loss, by_itself.loss)
    marked = labels[0].masked_fill(labels[0] == -100, 0)
    other = ours(ids[0], labels=marked, ignore_index=0, output_router_logits=True, num_items_in_batch=100)
    torch.testing.assert_close(other.loss, by_itself.loss)


def test_training_is_configured_in_place():
    config = tiny_config()
    config.correction_bias = True
    model = TinyForCausalLM._from_config(config).to(torch.bfloat16)
    gate = model.model.layers[1].mlp.gate
    gate.e_score_correction_bias = torch.full((8,), 0.75, dtype=torch.bfloat16)
    model.configure_moe(gate_bias_update_factor=0.001, train_gate=False)
    ids = torch.randint(1, 61, (2, 9))
    model.train()(ids, labels=ids).loss.backward()
    model.update_moe_gate_bias()
    moved = gate.e_score_correction_bias - 0.75
    assert set(moved.abs().mul(1e4).round().tolist()) <= {0.0, 10.0} and moved.any()  # in bfloat16 it would stay
    assert gate.weight.grad is None and model.model.layers[1].mlp.experts.down_proj.grad is not None
    assert model.config.output_router_logits is False
    model.configure_moe(aux_loss_coeff=0.3)
    output = model.float()(ids, labels=ids)
    plain = model(ids, labels=ids, output_router_logits=False)
    torch.testing.assert_close(output.loss, plain.loss + 0.3 * output.aux_loss)


def test_biases_move_and_loads_are_logged_under_the_trainer(tmp_path):
    config = tiny_config()
    config.correction_bias = True
    model = TinyForCausalLM._from_config(config)
    ids = [{"input_ids": row, "labels": row} for row in torch.randint(1, 61, (16, 8))]
    arguments = TrainingArguments(
        tmp_path,
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=ids, callbacks=[MoEBalanceCallback()])
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "moe/max_load" in entry]
    assert len(logged) >= 3 and logged[0]["moe/worst_load"] >= logged[0]["moe/max_load"] >= 1
    for router in routers(model).values():
        moved = router.e_score_correction_bias.abs()
        assert moved.max() <= 0.03 + 1e-6 and moved.max() > 0
        assert router.load is None
    assert load_metrics(model) == {}


@pytest.mark.parametrize("part", ["norm", "layers.0.mlp"])
def test_forwards_of_liger_kernel_are_refused_but_norms(part):
    """It binds them to the modules of a model; those of its MLPs and experts would fail within the layer."""
    model, _ = pair()
    module = model.model.get_submodule(part)

    def forward(self, x):
        return x

    forward.__module__ = "liger_kernel.transformers.swiglu"
    vars(module)["forward"] = MethodType(forward, module)
    if part == "norm":
        assert model.train().training
    else:
        with pytest.raises(RuntimeError, match=f"{part}: .*'swiglu': False"):
            model.train()
