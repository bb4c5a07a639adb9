"""Supervised fine-tuning on conversations as the documentation of TRL shows it; the template marks answers.

python chat.py CHECKPOINT ROWS OUTPUT STEPS
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main(checkpoint, rows, output, steps):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    arguments = SFTConfig(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=1e-4,
        logging_steps=1,
        save_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
        assistant_only_loss=True,
    )
    rows = load_dataset("json", data_files=rows, split="train", cache_dir=f"{output}/cache")
    trainer = SFTTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    trainer.save_state()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
