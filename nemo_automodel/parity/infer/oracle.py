"""A reference that is asked before anybody knows the spec: its answers, and what each of its modules got and gave."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.batches import Batch, Texts
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.components import order_of
from nemo_automodel.parity.counterparts import Values, cut_elsewhere, first_values
from nemo_automodel.parity.images import Images
from nemo_automodel.parity.infer.attending import ALIKE, attending, is_causal, other, widest
from nemo_automodel.parity.infer.pixels import images_of
from nemo_automodel.parity.infer.routing import Routing, routings
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.reference_answers import Measured
from nemo_automodel.parity.subject import Subject
from nemo_automodel.parity.tracing import Trace, traced

EXPERTS = ".experts"  # ends the paths of modules that hold all experts, in every class of transformers
MOST = 10_000_000  # parameters


class _Unknown(nn.Module):
    """In place of the generated model: it leaves no tensor out, and has no norm of its own."""

    _keys_to_ignore_on_load_unexpected = ()
    state_dict_adapter = None


class Unseen(Reference):
    """A reference of which no generated model says what it owes to the comparison."""

    @cached_property
    def outline(self) -> Any:
        return _Unknown()

    @cached_property
    def drawing(self) -> Texts | Images:
        return images_of(self.model) if self.subject.takes_images else super().drawing

    @cached_property
    def tower(self) -> nn.Module:
        """What is made of the config of the tower, and stands in nothing else of it."""
        config = self.model.config.vision_config
        return next(module for module in self.model.modules() if getattr(module, "config", None) is config)


def _alone(batches: Mapping[str, Batch]) -> dict[str, Batch]:
    """Tokens as texts of their own: no score, position or mask acts on them."""
    ids = batches["text" if "text" in batches else "short"].ids.reshape(-1, 1)
    return {"one": Batch(ids, None, ids)}


def _ordered(batches: Mapping[str, Batch]) -> dict[str, Batch]:
    """What shows least before what shows all."""
    first = [name for name in ("text", "short", "plain", "left") if name in batches]
    return {name: batches[name] for name in (*first, *batches)}


def shapes(subject: Subject, values: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Those of the parameters that a reference of these values has, without making them."""
    with torch.device("meta"):
        model = subject.reference_class._from_config(subject.config(values))  # type: ignore[attr-defined]
    return {name: one.shape for name, one in model.named_parameters()}


def parameters(subject: Subject, values: Mapping[str, Any]) -> int:
    """How many there are of them."""
    return sum(one.numel() for one in shapes(subject, values).values())


Make = Callable[[Subject, Mapping[str, Any]], Reference]
EXTREMES: dict[str, Make] = {"faint": Unseen.faint, "loud": Unseen.loud}  # weights of the first config otherwise


class Oracle:
    """One config's reference, in fp32 and in bf16, with what was measured of it once.

    values: keywords of the config class.
    """

    def __init__(
        self, subject: Subject, values: Mapping[str, Any], *, short: bool = False, make: Make = Unseen
    ) -> None:
        """Raises ValueError for a model that would be too large to be run hundreds of times."""
        self.values = dict(values)
        if (size := parameters(subject, values)) > MOST:
            raise ValueError(f"a model of {size:,} parameters is too large to be tried")
        self.measured = Measured(subject, values, make, short=short)
        self.measured.batches = {**_alone(self.measured.batches), **_ordered(self.measured.batches)}
        self._traces: dict[tuple[bool, str], Trace] = {}
        self._routings: dict[tuple[bool, str], dict[str, Routing]] = {}

    @property
    def reference(self) -> Reference:
        return self.measured.reference

    @property
    def batches(self) -> Mapping[str, Batch]:
        return self.measured.batches

    @cached_property
    def order(self) -> list[str]:
        """Paths of the modules, in the order in which a forward starts them."""
        return order_of(self.reference.model, self.batches["short"])

    @cached_property
    def is_defined(self) -> bool:
        """Whether the answers do not depend on how attention is computed: they do where a query sees no key."""
        return self.otherwise is None or distance(self.otherwise, self.measured.logits[self._widest]) < ALIKE

    @cached_property
    def otherwise(self) -> torch.Tensor | None:
        """The answers by the attention that is not asked; None where the class has one alone."""
        try:
            with attending(self.reference.model, other(self.reference.subject.attention)):
                return self.measured.run(self.reference.model, self._widest)
        except ValueError:
            return None

    @cached_property
    def is_causal(self) -> bool:
        """Whether no token sees what follows it."""
        return not self.batches[self._widest].images and is_causal(self.reference.model, self.batches)

    def heeds(self, base: "Oracle") -> bool:
        """Whether the attention that is not asked makes another model of this config than of one where both agree."""
        before, now = base.measured.logits[self._widest], self.otherwise
        return now is None or before.shape != now.shape or distance(now, before) > ALIKE

    @property
    def _widest(self) -> str:
        return widest(self.batches)

    def model(self, half: bool) -> nn.Module:
        return self.reference.in_bf16 if half else self.reference.model

    @cached_property
    def cut_elsewhere(self) -> frozenset[str]:
        return frozenset(cut_elsewhere(self.reference.model, self.batches["short"]))

    def trace(self, batch: str, half: bool = False) -> Trace:
        """What every module got and gave, of an uncut run."""
        if (half, batch) not in self._traces:
            model = self.model(half)
            paths = [path for path, _ in model.named_modules() if path]
            with torch.no_grad(), traced(model, paths) as trace:
                model(**self.batches[batch].inputs, use_cache=False)
            self._traces[half, batch] = trace
        return self._traces[half, batch]

    def routing(self, batch: str, half: bool = False) -> dict[str, Routing]:
        """What the modules that take experts' numbers and weights get, by path."""
        if (half, batch) not in self._routings:
            model = self.model(half)
            paths = [path for path, _ in model.named_modules() if path.endswith(EXPERTS)]
            with torch.no_grad(), routings(model, paths) as found:
                if paths:
                    model(**self.batches[batch].inputs, use_cache=False)
            self._routings[half, batch] = found
        return self._routings[half, batch]

    @cached_property
    def first_values(self) -> Values:
        """What each module gets and hands out first, on the short batch."""
        return first_values(self.reference.model, self.batches["short"])
