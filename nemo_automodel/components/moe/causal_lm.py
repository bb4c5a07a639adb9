"""Decoders with mixtures of experts: padding that is not routed, router logits, and the load-balancing loss."""

from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.utils.output_capturing import OutputRecorder

from nemo_automodel.components.models.common.causal_lm import CausalLM, DecoderModel
from nemo_automodel.components.models.common.cross_entropy import IGNORED
from nemo_automodel.components.models.common.norm import Norm
from nemo_automodel.components.models.common.releases import CACHE
from nemo_automodel.components.moe.balance import load_balancing_loss, update_moe_gate_bias
from nemo_automodel.components.moe.fsdp_mixin import MoEFSDPSyncMixin
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.components.moe.router import Router
from nemo_automodel.components.moe.training import configure_training


class MoEDecoderModel(DecoderModel):
    """A decoder whose layers are told which tokens are padding, and whose router logits can be recorded."""

    _output_class = MoeModelOutputWithPast
    _can_record_outputs = {**DecoderModel._can_record_outputs, "router_logits": OutputRecorder(Router, index=0)}

    def post_init(self):
        super().post_init()
        # transformers' styles are made for the layouts of its own experts; ours are spread by `dispatch`
        self._tp_plan = {path: style for path, style in self._tp_plan.items() if ".experts" not in path}

    def train(self, mode=True):
        """Raises RuntimeError where liger-kernel (`use_liger_kernel`) put forwards of its own in place of MLPs' or
        experts': they take no padding mask, and none of these experts' layouts."""
        for name, module in self.named_modules():
            patch = getattr(vars(module).get("forward"), "__module__", "")
            if patch.startswith("liger_kernel") and not isinstance(module, Norm):
                raise RuntimeError(
                    f"{name}: liger-kernel's forward does not fit mixtures of this library: train with "
                    "liger_kernel_config={'swiglu': False}; backend.experts chooses the kernel of experts"
                )
        return super().train(mode)

    def layer_context(self, x, attention_mask):
        """Masks that are not [B, T] (made by `generate`, or by the caller) do not tell which tokens are padding."""
        return {"padding_mask": _of_tokens(attention_mask, x)}


def _of_tokens(attention_mask, x):
    """[B, S] for the S tokens of x [B, S, D], without those in the cache; None where the mask does not tell."""
    if getattr(attention_mask, "ndim", None) != 2:
        return None
    return attention_mask[:, -x.shape[1] :].bool()


class MoECausalLM(MoEFSDPSyncMixin, CausalLM):
    """A causal language model that adds the load-balancing loss where router logits are asked for.

    Its config has a weight for that loss (`aux_loss_coeff`), or training was given one; else `aux_loss` is None.
    """

    def output(
        self,
        outputs,
        logits,
        loss,
        *,
        attention_mask=None,
        labels=None,
        num_items_in_batch=None,
        shift_labels=None,
        ignore_index=IGNORED,
        **kwargs,
    ):
        """With `num_items_in_batch` (the labels of all micro-batches of a step) the load-balancing loss is this
        micro-batch's share by its labels, as the loss itself is: transformers would add it whole each time."""
        router_logits, aux_loss, config = outputs.get("router_logits"), None, self.moe_config
        if router_logits and config.aux_loss_coeff is not None:
            mask = _of_tokens(attention_mask, outputs.last_hidden_state)
            aux_loss = load_balancing_loss(router_logits, config.n_activated_experts, mask)
            if loss is not None:
                counted = labels[..., 1:] if shift_labels is None else shift_labels
                share = 1 if num_items_in_batch is None else counted.ne(ignore_index).sum() / num_items_in_batch
                loss = loss + (config.aux_loss_coeff * share * aux_loss).to(loss.device)
        return MoeCausalLMOutputWithPast(
            loss=loss,
            aux_loss=aux_loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=router_logits,
            **{CACHE: outputs.get(CACHE)},
        )

    @property
    def moe_config(self):
        """The MoEConfig of the first layer with experts; None where the config asks for none."""
        return next((module.config for module in self.modules() if isinstance(module, MoE)), None)

    def configure_moe(self, **fields):
        """Sets how mixtures are trained: `TRAINING` fields of MoEConfig, in place, before sharding.

        `aux_loss_coeff` also turns recording of router logits on (off where it is 0), and with it the loss.
        Raises ValueError for another field, or one that nothing here would heed.
        """
        configure_training(self, fields)
        if "aux_loss_coeff" in fields:
            self.config.get_text_config().output_router_logits = bool(fields["aux_loss_coeff"])

    def update_moe_gate_bias(self):
        """Moves the routers' correction biases towards balance; once an optimiser step."""
        update_moe_gate_bias(self)
