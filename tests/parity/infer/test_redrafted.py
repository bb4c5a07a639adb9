"""What the drafts of two configs of a family say otherwise."""

from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.redrafted import Redrafts


def test_what_one_draft_says_alone_is_put_back_to_its_default(hidden):
    it = hidden("falcon")
    subject, base = it.project.subject(), it.project.configs["base"]
    heads = {"multi_query": False, "num_kv_heads": base["num_attention_heads"]}
    changes = {"base": {}, "alibi": {"alibi": True}, "heads": heads}
    oracles = {name: Oracle(subject, base | change) for name, change in changes.items()}
    drafts = Redrafts(it.tree, it.name)
    alibi, heads = (dict(drafts.between("base", case, oracles)) for case in ("alibi", "heads"))
    assert alibi == {("rope",): "none", ("attention", "alibi"): True}
    assert heads["attention", "kv_heads"] == "config.num_attention_heads"  # of one head before
    rows = heads["checkpoint", "fused", "query_key_value"]
    assert rows == {"parts": ["q", "k", "v"], "groups": "config.num_attention_heads"}
