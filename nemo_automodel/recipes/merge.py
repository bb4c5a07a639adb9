"""Adds an adapter to the weights that it was trained over, and saves the whole as a checkpoint like any other.

    python -m nemo_automodel.recipes.merge output/lora output/merged

The base model is the one that the adapter names, read anew in its own dtype: of an adapter that was trained over four
bits, too, so that nothing of their rounding is kept.
"""

import argparse
import sys
from pathlib import Path

from transformers import AutoProcessor, AutoTokenizer

from nemo_automodel import NeMoAutoModelForCausalLM, NeMoAutoModelForImageTextToText
from nemo_automodel.recipes.checkpoints import DTYPES
from nemo_automodel.recipes.mistakes import RecipeError, naming, near_file

ADAPTER_FILE, PROCESSOR_FILE, TOKENIZER_FILE = "adapter_config.json", "processor_config.json", "tokenizer_config.json"


def main(argv: list[str] | None = None) -> int:
    """Merge; 0 when it is saved, 2 when an argument is wrong."""
    arguments = _parser().parse_args(argv)
    try:
        merge(arguments.adapter, arguments.output, arguments.base, arguments.dtype)
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nemo_automodel.recipes.merge", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("adapter", type=Path, help="a folder with an adapter, as a recipe with a section peft saves it")
    parser.add_argument("output", type=Path, help="where the merged model goes; must not exist or be empty")
    parser.add_argument("--base", help="the base model, where it is not what the adapter names")
    parser.add_argument(
        "--dtype", default="auto", choices=DTYPES, help="of the merged weights (auto: that of the base model)"
    )
    return parser


def merge(adapter: Path, output: Path, base: str | None = None, dtype: str = "auto") -> None:
    """Save base and adapter as one model, with the tokenizer (or processor) that lies beside the adapter.

    Raises:
        RecipeError: there is no adapter, it cannot be merged, or something lies in `output`.
    """
    from peft import PeftConfig, PeftModel

    if not (adapter / ADAPTER_FILE).is_file():
        cure = "" if adapter.is_dir() else near_file(adapter)
        raise RecipeError(f"{adapter}: holds no {ADAPTER_FILE}{cure}; name the folder of an adapter")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RecipeError(f"{output}: is not empty; name another folder")
    images = (adapter / PROCESSOR_FILE).is_file()
    entry = NeMoAutoModelForImageTextToText if images else NeMoAutoModelForCausalLM
    with naming(str(adapter), {}):
        named = base or PeftConfig.from_pretrained(adapter).base_model_name_or_path
        model = PeftModel.from_pretrained(entry.from_pretrained(named, dtype=dtype), adapter)
        merged = model.merge_and_unload(safe_merge=True)
        reader = AutoProcessor if images else AutoTokenizer if (adapter / TOKENIZER_FILE).is_file() else None
        merged.save_pretrained(output)
        if reader is not None:
            reader.from_pretrained(adapter).save_pretrained(output)


if __name__ == "__main__":
    sys.exit(main())
