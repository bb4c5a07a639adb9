"""Reads a config ahead of the weights, and keeps apart what belongs to the one and to the other."""

HUB_KEYS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token", "trust_remote_code")


def load_config(config_class, path, kwargs):
    """The config at a path with those of the keywords that are its fields, and the keywords that are left over.

    config_class: anything with `from_pretrained`, AutoConfig too.
    """
    hub = {key: kwargs[key] for key in HUB_KEYS if key in kwargs}
    own = {key: kwargs[key] for key in ("dtype", "attn_implementation") if key in kwargs}
    rest = {key: value for key, value in kwargs.items() if key not in own and key not in hub}
    config, rest = config_class.from_pretrained(path, return_unused_kwargs=True, **hub, **rest)
    return config, {**hub, **own, **rest}
