"""DBRX, whose published config.json files hold the rotary base in `attn_config`."""

import transformers


class DbrxForCausalLM(transformers.DbrxForCausalLM):
    """transformers' class with that base: it reads the field, but its table is of the base in `rope_parameters`, which
    no published file has (databricks' own modeling_dbrx.py rotates by `attn_config.rope_theta`)."""

    def __init__(self, config):
        config.rope_parameters = {**config.rope_parameters, "rope_theta": config.attn_config.rope_theta}
        super().__init__(config)
