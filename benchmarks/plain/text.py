"""Causal language modelling as the documentation of transformers shows it: documents joined and cut into blocks.

python text.py CHECKPOINT TEXT OUTPUT STEPS LENGTH
"""

import sys
from itertools import chain

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, default_data_collator


def main(checkpoint, text, output, steps, length):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)

    def tokenized(rows):
        found = tokenizer([row for row in rows["text"] if row.strip()], add_special_tokens=False)["input_ids"]
        return {"input_ids": [[*ids, tokenizer.eos_token_id] for ids in found]}

    def blocks(rows):
        ids = list(chain(*rows["input_ids"]))
        cut = [ids[start : start + length] for start in range(0, len(ids) // length * length, length)]
        return {"input_ids": cut, "labels": cut}

    rows = load_dataset("text", data_files=text, split="train", cache_dir=f"{output}/cache")
    rows = rows.map(tokenized, batched=True, batch_size=None, remove_columns="text")
    rows = rows.map(blocks, batched=True, batch_size=None)
    arguments = TrainingArguments(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=1e-4,
        logging_steps=1,
        save_strategy="no",
    )
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=default_data_collator)
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
