"""Both losses against transformers': values, gradients, and what they leave in memory."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.loss.loss_utils import ForCausalLMLoss

from nemo_automodel.components.models.common import cross_entropy as module
from nemo_automodel.components.models.common.cross_entropy import chunked_cross_entropy, cross_entropy, why_not_chunked
from tests.common.tiny import batch, tiny

V, H = 301, 16
OPTIONS = {
    "mean": {},
    "by count": {"num_items_in_batch": 17},
    "by tensor": {"num_items_in_batch": torch.tensor(17)},
    "another ignored": {"ignore_index": 7},
}


def transform(logits):
    return 3.0 * torch.tanh(logits / 3.0)


@pytest.fixture(params=[40, 130], ids="{} ignored".format)
def data(request):
    torch.manual_seed(0)
    labels = torch.randint(V, (2, 150))
    labels[0, : request.param] = -100
    return torch.randn(2, 150, H), labels


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "ROW_BYTES", 4 * V * 7)
    monkeypatch.setattr(module, "MIN_ROWS", 16)


def ignoring(labels, ignore_index=-100, **options):
    """Labels whose ignored places hold another number."""
    return labels.masked_fill(labels == -100, ignore_index)


def close(a, b, bound=1e-5):
    return (a - b).abs().max() <= bound * b.abs().max()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_chunks_equal_all_at_once(data, name, bias):
    x, labels = data[0], ignoring(data[1], **OPTIONS[name])
    head = nn.Linear(H, V, bias=bias)
    results = []
    for chunked in (True, False):
        head.zero_grad()
        leaf = x.clone().requires_grad_()
        if chunked:
            loss = chunked_cross_entropy(leaf, head, labels, transform, **OPTIONS[name])
        else:
            loss = ForCausalLMLoss(transform(head(leaf)), labels, V, **OPTIONS[name])
        (2.0 * loss).backward()
        results.append([loss.detach(), leaf.grad, *(p.grad.clone() for p in head.parameters())])
    assert all(close(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_of_logits_equals_transformers(data, name, dtype):
    labels, logits = ignoring(data[1], **OPTIONS[name]), torch.randn(2, 150, V).to(dtype)
    results = []
    for loss_of in (cross_entropy, lambda x, y, **kw: ForCausalLMLoss(x, y, V, **kw)):
        leaf = logits.clone().requires_grad_()
        loss = loss_of(leaf, labels, **OPTIONS[name])
        (2.0 * loss).backward()
        results.append((loss.detach(), leaf.grad))
    assert results[0][1].dtype == dtype
    assert close(results[0][0], results[1][0], 1e-6)
    assert close(results[0][1], results[1][1], 1e-6 if dtype == torch.float32 else 1e-2)


def test_labels_that_are_shifted_already(data):
    x, labels = data
    head, shifted = nn.Linear(H, V), nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
    expected = chunked_cross_entropy(x, head, labels, transform)
    assert torch.equal(chunked_cross_entropy(x, head, None, transform, shift_labels=shifted), expected)
    assert close(cross_entropy(transform(head(x)), None, shift_labels=shifted), expected, 1e-6)


def test_frozen_head_gets_no_gradient(data):
    head, x = nn.Linear(H, V).requires_grad_(False), data[0].requires_grad_()
    chunked_cross_entropy(x, head, data[1], transform).backward()
    assert head.weight.grad is None
    assert x.grad.abs().sum() > 0


def test_backward_twice(data):
    x = data[0].requires_grad_()
    loss = chunked_cross_entropy(x, nn.Linear(H, V), data[1], transform) * 3
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert torch.allclose(x.grad, 2 * once)


def test_the_models_loss_without_logits():
    model, inputs = tiny(), batch()
    full = model(**inputs, labels=inputs["input_ids"])
    chunked = model(**inputs, labels=inputs["input_ids"], chunked_loss=True)
    assert chunked.logits is None
    assert close(chunked.loss, full.loss, 1e-6)


@pytest.mark.parametrize("options", [{}, {"chunked_loss": True}, {"chunked_loss": False}], ids=str)
def test_the_model_ignores_the_label_that_it_is_told_to(options):
    model, inputs = tiny(), batch()
    other = int(inputs["input_ids"][0, -1])
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            found = model(**inputs, labels=inputs["input_ids"], ignore_index=other, **options).loss
            labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == other, -100)
            assert close(found, model(**inputs, labels=labels).loss, 1e-6)
            assert not close(found, model(**inputs, labels=inputs["input_ids"]).loss, 1e-4)


def test_large_vocabularies_are_chunked_in_training_alone(monkeypatch):
    monkeypatch.setattr("nemo_automodel.components.models.common.causal_lm.LARGE_VOCABULARY", 61)
    model, inputs = tiny(), batch()
    assert model(**inputs, labels=inputs["input_ids"]).logits is not None
    assert model.train()(**inputs, labels=inputs["input_ids"]).logits is None
    assert model(**inputs, labels=inputs["input_ids"], chunked_loss=False).logits is not None
    assert model(**inputs).logits is not None


def test_a_head_that_cannot_be_chunked_says_why():
    model, inputs = tiny(), batch()
    model.lm_head.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="cannot be chunked: the head has hooks"):
        model(**inputs, labels=inputs["input_ids"], chunked_loss=True)
    assert "Bilinear" in why_not_chunked(nn.Bilinear(2, 2, 2))


def test_a_loss_function_of_the_user_is_used():
    model, inputs = tiny().train(), batch()
    model.loss_function = lambda logits, labels, vocab_size, **_: logits.sum() * 0 + vocab_size
    assert model(**inputs, labels=inputs["input_ids"]).loss == 61


def test_peak_memory_is_half_of_all_at_once():
    """Counts what autograd and the allocator hold, through torch's profiler."""
    labels = torch.randint(20_000, (1, 1024))
    head = nn.Linear(H, 20_000)
    peaks = []
    for chunked in (True, False):
        x = torch.randn(1, 1024, H, requires_grad=True)
        with torch.profiler.profile(profile_memory=True) as profile:
            if chunked:
                chunked_cross_entropy(x, head, labels, transform).backward()
            else:
                ForCausalLMLoss(transform(head(x)), labels, 20_000).backward()
        held = peak = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        peaks.append(peak)
    assert 0 < peaks[0] <= 0.5 * peaks[1]


LOSSES = {
    "of logits": lambda x, head, labels, **options: cross_entropy(transform(head(x)), labels, **options),
    "past logits": lambda x, head, labels, **options: chunked_cross_entropy(
        x, head, labels, transform, head(x), **options
    ),
    "chunked": lambda x, head, labels, **options: chunked_cross_entropy(x, head, labels, transform, **options),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_given_product_with_the_head_changes_nothing(data, name):
    head, labels, results = nn.Linear(H, V), ignoring(data[1], **OPTIONS[name]), []
    for loss_of in ("chunked", "past logits"):
        head.zero_grad()
        leaf = data[0].clone().requires_grad_()
        loss = LOSSES[loss_of](leaf, head, labels, **OPTIONS[name])
        loss.backward()
        results.append([loss.detach(), leaf.grad, head.weight.grad.clone(), head.bias.grad.clone()])
    assert all(close(a, b, 1e-6) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("loss_of", LOSSES)
@pytest.mark.parametrize("options", [{}, {"num_items_in_batch": 0}], ids=str)
def test_no_label_moves_no_weight(data, loss_of, options):
    """The loss is not a number, as transformers' is; one such batch must not destroy a model."""
    head, x = nn.Linear(H, V), data[0].requires_grad_()
    loss = LOSSES[loss_of](x, head, torch.full_like(data[1], -100), **options)
    loss.backward()
    assert loss.isnan()
    assert not x.grad.any()
    assert not head.weight.grad.any()


@pytest.mark.parametrize("loss_of", LOSSES)
def test_fp16_keeps_small_gradients(data, loss_of):
    """A loss scale comes only after the gradient is rounded: of a long batch and many words nothing was left."""
    head, count, scale = nn.Linear(H, V), 2**22, 2.0**16
    with torch.no_grad():
        head.weight.mul_(0.1)
    found = []
    for half in (False, True):
        head.zero_grad()
        x = data[0].clone().requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss = LOSSES[loss_of](x, head, data[1], num_items_in_batch=count)
        (scale * loss).backward()
        found.append((x.grad, head.weight.grad.clone()))
    assert all(close(b, a, 5e-3) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("tokens, kept", [(3, "logits"), (120, "weight")])
def test_the_smaller_gradient_is_kept(tokens, kept):
    """Beside logits that nobody holds: their gradient for a short text, that of the head's weight for a long one."""
    model, ids = tiny().train(), torch.randint(3, 60, (1, tokens))
    saved, own = [], {parameter.data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        model(input_ids=ids, labels=ids, use_cache=False)
    weight, sizes = tuple(model.lm_head.weight.shape), {tuple(t.shape) for t in saved if t.data_ptr() not in own}
    labels = tokens - 1  # the last token predicts nothing: of so few that is a row worth leaving out
    assert ((labels, weight[0]) in sizes, weight in sizes) == (kept == "logits", kept == "weight")


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("ignored, rows", [(0, 100), (10, 100), (50, 49)])
def test_rows_of_many_ignored_labels_go_through_no_product(given, ignored, rows):
    """Those of a fifth at least. Counted: logits where they are not given, and the gradient of what the head reads."""
    x, head, labels = torch.randn(1, 100, H, requires_grad=True), nn.Linear(H, V), torch.randint(V, (1, 100))
    labels[0, 1 : ignored + 1] = -100
    raw = head(x) if given else None
    with FlopCounterMode(display=False) as flops:
        chunked_cross_entropy(x, head, labels, transform, raw).backward()
    assert flops.get_total_flops() == (1 if given else 2) * 2 * H * V * rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("frozen", [None, "rows", "weight", "bias"])
def test_a_gradient_of_logits_goes_past_them_bit_for_bit(frozen, dtype):
    """Few rows: what is kept is the gradient of the head's output, soft-capped or not."""
    x, labels = torch.randn(2, 6, H, dtype=dtype), torch.randint(V, (2, 6))
    head = nn.Linear(H, V).to(dtype)
    for change in (lambda raw: raw, transform):
        results = []
        for past in (True, False):
            head.zero_grad()
            leaf = x.clone().requires_grad_(frozen != "rows")
            for name, parameter in head.named_parameters():
                parameter.requires_grad_(frozen != name)
            raw = head(leaf)
            logits = raw if past else change(raw)
            loss = chunked_cross_entropy(leaf, head, labels, change, raw) if past else cross_entropy(logits, labels)
            (2.0 * loss).backward()
            results.append([loss.detach(), leaf.grad, head.weight.grad, head.bias.grad])
        same = [a is b if a is None else torch.equal(a, b) for a, b in zip(*results, strict=True)]
        assert same == [True] * 4


def test_gradients_of_loss_and_logits_add_up():
    model, inputs = tiny(), batch()
    labels, parameters = inputs["input_ids"], None
    results = []
    for past_logits in (True, False):
        out = model(**inputs, labels=labels)
        loss = out.loss if past_logits else ForCausalLMLoss(out.logits, labels, out.logits.shape[-1])
        parameters = list(model.parameters())
        results.append(torch.autograd.grad(loss + out.logits.square().mean(), parameters))
    assert all(close(a, b) for a, b in zip(*results, strict=True))
