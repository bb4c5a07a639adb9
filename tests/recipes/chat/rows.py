"""Conversations, templates that write them, and a tokenizer of bytes."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<|im_start|>", "<|im_end|>"]
END = "<|im_end|>"
CHATML = (
    "{% if tools %}[{{ tools | tojson }}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The same with answers marked, as TRL and transformers' `return_assistant_tokens_mask` want them.
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPEN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
# What Qwen3's does with thoughts: earlier answers are written shorter than they were.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def turns(*texts: str) -> list[dict[str, Any]]:
    """Messages of the user and the assistant in turn."""
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]


LENGTHS = (1, 9, 4, 17, 2, 12, 6)
MESSAGES = [turns(f"{number} and one?", "x" * number, "Sure?", f"yes {number}") for number in LENGTHS]


def tokenizer(template: str | None, **options: Any) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {word: number for number, word in enumerate([*SPECIAL, *letters])}
    made = Tokenizer(models.BPE(numbers, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "extra_special_tokens": SPECIAL[2:], **options}
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **named)
    fast.chat_template = template
    return fast
