"""What callers of a language model rely on: outputs, positions, checkpointing, compilation, the Trainer."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from tests.common.tiny import TinyConfig, TinyForCausalLM, batch, tiny

BACKENDS = ["split", "packed"]


def test_hidden_states_and_attentions_are_recorded():
    model, inputs = tiny(), batch()
    out = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert [h.shape for h in out.hidden_states] == [(2, 20, 32)] * 3
    assert [a.shape for a in out.attentions] == [(2, 4, 20, 20)] * 2
    assert torch.equal(model.lm_head(out.hidden_states[-1]) * 1.5, out.logits)


def test_logits_to_keep():
    model, inputs = tiny(), batch()
    logits = model(**inputs).logits
    assert torch.allclose(model(**inputs, logits_to_keep=3).logits, logits[:, -3:], atol=1e-6)
    chosen = torch.tensor([2, 7])
    assert torch.allclose(model(**inputs, logits_to_keep=chosen).logits, logits[:, chosen], atol=1e-6)


def test_embeddings_in_place_of_ids():
    model, inputs = tiny(), batch()
    x = model.get_input_embeddings()(inputs["input_ids"])
    given = model(inputs_embeds=x, attention_mask=inputs["attention_mask"]).logits
    assert torch.equal(given, model(**inputs).logits)
    with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
        model(input_ids=inputs["input_ids"], inputs_embeds=x)


def test_tuples_where_asked():
    model, inputs = tiny(), batch()
    assert torch.equal(model(**inputs, return_dict=False)[0], model(**inputs).logits)


def test_config_switches_the_cache_off():
    model = tiny()
    assert model(**batch()).past_key_values is not None
    model.config.use_cache = False
    assert model(**batch()).past_key_values is None


def test_learned_positions_count_the_mask():
    """OPT: pads look up row 1 (their position is -1, the table's offset 2), the first token row 2."""
    model, inputs, seen = tiny(learned_positions=True), batch(), []
    model.model.wpe.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    model(**inputs)
    assert seen[0][0].tolist() == [1] * 5 + list(range(2, 17))
    assert seen[0][1].tolist() == list(range(2, 22))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(reentrant, backend):
    model, inputs, results = tiny(backend).train(), batch(), []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.zero_grad()
        out = model(**inputs, labels=inputs["input_ids"])
        out.loss.backward()
        results.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert out.past_key_values is None
    assert all(torch.allclose(results[0][name], grad, atol=1e-6) for name, grad in results[1].items())


@pytest.mark.parametrize("fields", [{}, {"windows": [6, None]}, {"use_alibi": True}, {"fused": True}])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_graph(fields, backend):
    model, inputs = tiny(backend, "sdpa", **fields), batch()
    torch._dynamo.reset()
    explained = torch._dynamo.explain(model)(**inputs, use_cache=False)
    assert explained.graph_break_count == 0, explained.break_reasons


def test_compiled_layer_trains():
    model, inputs, losses = tiny(attention="sdpa").train(), batch(), []
    for compiled in (False, True):
        if compiled:
            torch._dynamo.reset()
            for layer in model.model.blocks:
                layer.compile(fullgraph=True, backend="aot_eager")
        model.zero_grad()
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        loss.backward()
        losses.append((loss.detach(), model.lm_head.weight.grad.clone()))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*losses, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_rounds_no_table(backend):
    """Positions beyond 256 are not bfloat16 numbers: a rounded table would turn them by whole radians."""
    model = tiny(backend, max_position_embeddings=4096)
    ids, positions = torch.arange(3, 23)[None], torch.arange(2001, 2021)[None]
    exact = model(input_ids=ids, position_ids=positions).logits
    rounded = model.to(torch.bfloat16)(input_ids=ids, position_ids=positions).logits
    assert (rounded - exact).norm() < 0.05 * exact.norm()


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        ids = torch.arange(3 + i, 15 + i)
        return {"input_ids": ids, "labels": ids}


def train(folder, backend, model_class=TinyForCausalLM, **options):
    torch.manual_seed(0)
    model = model_class(TinyConfig(), {"projections": backend})
    source = tiny("split")
    model.load_state_dict(model.state_dict_adapter.from_hf(source.state_dict()))
    arguments = TrainingArguments(
        folder,
        max_steps=6,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_steps=3,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        gradient_accumulation_steps=2,
    )
    trainer = Trainer(model, arguments, train_dataset=Rows())
    trainer.train(**options)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("backend", BACKENDS)
def test_trainer_resumes_where_it_stopped(backend, tmp_path):
    losses = train(tmp_path, backend)
    assert losses[-1] < 0.8 * losses[0]
    resumed = train(tmp_path, backend, resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed == pytest.approx(losses, rel=1e-4)


def test_backends_train_alike(tmp_path):
    split, packed = (train(tmp_path / backend, backend) for backend in BACKENDS)
    assert packed == pytest.approx(split, rel=1e-3)
