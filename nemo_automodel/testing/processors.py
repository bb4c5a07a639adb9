"""A family's processor of transformers: what it makes of pictures and text is what the model takes.

Its sizes are those of a tiny config, by the names that processors have for them; its tokenizer knows plain words.
"""

import inspect
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from nemo_automodel.parity.images import features
from nemo_automodel.parity.pictures import GRIDS
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding

MARK = "<imgpad>"  # of an image, unless a processor writes another one
# What processors ask tokenizers for, by attribute; some want marks written so, whatever the tokenizer says.
MARKS = {
    "image_token": MARK,
    "context_image_token": MARK,
    "img_patch_token": MARK,
    "boi_token": "<boi>",
    "eoi_token": "<eoi>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "start_of_img_token": "<img>",
    "end_of_img_token": "</img>",
    "tile_token": "<tile>",
    "tile_global_token": "<whole>",
    "img_line_break_token": "<line>",
    "image_break_token": "<break>",
    "image_end_token": "<end>",
    "image_boundary_token": "<fake_token_around_image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}
IDLE = ("self", "kwargs", "chat_template", "use_default_system_prompt", "size_conversion")  # no sizes of what is asked
SIDES = ((22, 37), (41, 19))  # heights and widths of pictures
# Whose processors make no pictures as small as tiny towers take: spec -> what they say of it.
LEFT_OUT = {"aria": "max_image_size must be either 490 or 980"}


class ProcessorContract(Binding):
    def test_processor_and_model_agree(self):
        """Placeholders in the text, rows of features and the spec's formula; logits with the reference's."""
        said = yaml.safe_load(Path(f"specs/{self.spec}.yaml").read_text()).get("processor")
        if said is None:  # of a family that transformers lacks
            assert not self.config_class.startswith("transformers:")
            return
        name, formula = (said, None) if isinstance(said, str) else (said["class"], said.get("tokens"))
        drawing = self.given().drawing
        sizes = Sizes(self.given().model, drawing.pictures, drawing.rows(drawing.pictures.drawn(1, 1)[0], 1))
        made = sizes.processor(name, drawing.token)
        pictures = [Image.effect_noise((width, height), 90).convert("RGB") for height, width in SIDES]
        if self.spec in LEFT_OUT:
            with pytest.raises(ValueError, match=LEFT_OUT[self.spec]):
                made.image_processor(pictures, max_image_size=sizes.side)
            return
        texts = [f"w10 w11 {made.image_token} w12 w13", f"w14 {made.image_token} w15"]
        each = [self.given_by(made, [text], [picture]) for text, picture in zip(texts, pictures, strict=True)]
        counts = [self.agreeing(one, formula, sizes) for one in each]
        batch = self.given_by(made, texts, pictures)
        assert self.placeholders(batch) == counts
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            ours, theirs = (model(**batch).logits[real] for model in (self.ours(), self.given().model))
        close(ours, theirs)

    def agreeing(self, given, formula, sizes):
        """How many rows our model makes of one picture, which are as many as its placeholders."""
        fields = {name: given[name] for name in self.ours().model.image_fields if name in given}
        with torch.no_grad():
            count = len(features(self.ours(), fields))
        assert self.placeholders(given) == [count]
        assert formula is None or sizes.told(formula, fields) == count
        return count

    def placeholders(self, given):
        """In each text."""
        return (given["input_ids"] == self.ours().model.image_token).sum(-1).tolist()

    def given_by(self, made, texts, pictures):
        """A batch, of texts with a picture each."""
        is_flat = "multi_page" in of_images(made)  # where several are pages of one picture
        images = pictures if is_flat else [[picture] for picture in pictures]
        return made(images=images, text=texts, return_tensors="pt", padding=True, **made.told_each_time)


def of_images(processor):
    """Keywords of a call that are about images."""
    return processor.valid_processor_kwargs.__annotations__["images_kwargs"].__annotations__.keys()


class Sizes:
    """What processors ask for by name, of the reference of a tiny config.

    pictures: as `parity.pictures` reads them off it; rows: how many it makes of a picture of its own size.
    """

    def __init__(self, reference, pictures, rows):
        self.config, self.pictures, self.rows = reference.config, pictures, rows
        self.patch, self.merged = pictures.patch, pictures.patch * pictures.unit
        self.side = pictures.side or 4 * self.merged
        self.patches = (self.side // self.patch) ** 2
        tables = [module.num_embeddings for module in reference.modules() if isinstance(module, nn.Embedding)]
        self.leading = int(self.patches + 1 in tables)  # a token of the tower that is no patch

    def processor(self, name, image_token, mark=MARK):
        """The class of that name, with all that it is made of. Skips where it needs a package that is not there."""
        kind = getattr(transformers, name)
        need_torchvision(kind)
        parts, known = self._parts(kind, image_token, mark), self.of_texts()
        asked = inspect.signature(kind.__init__).parameters
        strange = asked.keys() - {*known, *parts, *IDLE}
        assert not strange, f"{name} asks for {', '.join(sorted(strange))}: say here what of the config it is"
        told = {name: value for name, value in known.items() if name in asked}
        try:
            made = type(name, (WithoutVideos, kind), {})(**parts, **told)
        except ImportError as error:  # of a package for what is not asked of it here
            pytest.skip(str(error))
        if made.image_token not in (mark, *MARKS.values()):  # its own text, whatever the tokenizer says
            return self.processor(name, image_token, made.image_token)
        for name, value in known.items():
            if hasattr(kind, name):  # where the class has it as a default
                setattr(made, name, value)
        made.told_each_time = {name: known[name] for name in known.keys() & of_images(made) if not hasattr(kind, name)}
        return made

    def _parts(self, kind, image_token, mark):
        """What makes pixels, and what makes ids; nothing that reads videos."""
        of_images = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind.__module__.split(".")[-2])
        of_images = of_images or IMAGE_PROCESSOR_MAPPING_NAMES[self.config.model_type]
        image = getattr(transformers, of_images["pil" if "pil" in of_images else "torchvision"])
        need_torchvision(image)
        tokenizer = words(image_token, self.config.get_text_config().vocab_size, mark)
        videos = {"video_processor": None} if "video_processor" in kind.get_attributes() else {}
        return {"image_processor": self.of_images(image), "tokenizer": tokenizer, **videos}

    def of_images(self, kind):
        """What makes pixels, with sizes by the names and the forms of its defaults."""
        plain = kind()
        longest = self.side if isinstance(getattr(plain, "max_image_size", 0), int) else {"longest_edge": self.side}
        whole = {"height": self.merged, "width": self.merged}
        known = {
            "size": self._size(getattr(plain, "size", None), hasattr(plain, "merge_size")),
            "crop_size": {"height": self.side, "width": self.side},
            "patch_size": self.patch if isinstance(getattr(plain, "patch_size", 0), int) else whole,
            "merge_size": self.pictures.unit,
            "temporal_patch_size": getattr(self.config.vision_config, "temporal_patch_size", 1),
            "image_grid_pinpoints": getattr(self.config, "image_grid_pinpoints", None),
            "max_image_size": longest,
            "min_image_size": self.patch,
            "min_size": self.patch,
        }
        made = kind(**{name: value for name, value in known.items() if getattr(plain, name, None) is not None})
        made.image_seq_length = self.rows  # PaliGemma's has it there
        return made

    def _size(self, default, is_area):
        """Of the same names: sides of what the tower takes, or areas of few patches."""
        names = [name for name, value in dict(default or {}).items() if value is not None]
        edges = {"shortest_edge": self.merged, "longest_edge": 2 * self.side if is_area else self.side}
        if sorted(names) == sorted(edges):
            return {name: edge**2 for name, edge in edges.items()} if is_area else edges
        return dict.fromkeys(names, self.side)

    def of_texts(self):
        """What writes placeholders into texts is told."""
        known = {
            **MARKS,
            "patch_size": self.patch,
            "spatial_merge_size": self.pictures.unit,
            "image_seq_length": self.rows,
            "image_seq_len": self.rows,
            "num_image_tokens": self.patches if hasattr(self.config, "image_grid_pinpoints") else self.rows,
            "num_additional_image_tokens": self.leading,
            "img_size": self.side,
            "vision_feature_select_strategy": "default" if self.rows == self.patches else "full",
        }
        said = ("vision_feature_select_strategy", "vision_aspect_ratio", "downsample_factor")
        return known | {name: getattr(self.config, name) for name in said if hasattr(self.config, name)}

    def told(self, formula, fields):
        """The value of a spec's formula, of the one picture that a processor made."""
        pixels, grid = next(iter(fields.values())), next((fields[name] for name in GRIDS if name in fields), None)
        height, width = pixels.shape[-2:] if grid is None else (grid[0, -2:] * self.patch).tolist()
        return eval(formula, {"config": self.config, "height": height, "width": width})  # noqa: S307


def need_torchvision(kind):
    """Skips where transformers leaves a class out for want of it."""
    if getattr(kind, "is_dummy", False):
        pytest.importorskip("torchvision")


class WithoutVideos:
    """Before a processor's class: what reads videos needs torchvision, and is not asked of it here."""

    def check_argument_for_proper_class(self, name, argument):
        return None if argument is None else super().check_argument_for_proper_class(name, argument)


def words(image_token, vocabulary, mark):
    """A tokenizer whose mark of images has this id; other marks have the last ids of the vocabulary."""
    marks = {name: mark if text == MARK else text for name, text in MARKS.items()}
    own = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    texts = dict.fromkeys([*marks.values(), *own.values()])
    free = iter(number for number in reversed(range(vocabulary)) if number != image_token)
    ids = {text: image_token if text == mark else next(free) for text in texts}
    taken = set(ids.values())
    ids |= {f"w{number}": number for number in range(3, vocabulary) if number not in taken}
    pieces = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pieces.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])
    return PreTrainedTokenizerFast(tokenizer_object=pieces, padding_side="left", extra_special_tokens=marks, **own)
