"""What a model that takes images makes of wrong ones: an error that says what is wrong, or what the reference makes."""

from dataclasses import replace

import pytest
import torch

from nemo_automodel.components.models.common.vision.given import COLUMNS, COUNTS, GRIDS, MASKS, MERGES, SIZES
from nemo_automodel.parity.images import features
from nemo_automodel.parity.newer import asked_of_older
from nemo_automodel.testing.asserting import close
from nemo_automodel.testing.binding import Binding

SMALLER, LARGER = slice(0, -1), [0, 0]  # than an image has
LONG, WIDE = 10, 9  # rows of an image that is larger than any table of the tiny configs


class WrongImagesContract(Binding):
    """`seen` is what the model makes of the fields of images alone; `pixels` of the first of them."""

    def image(self, **changes):
        """An image: its fields, pixels first. changes: of the pictures that are drawn."""
        pictures = replace(self.given().drawing.pictures, **changes)
        return pictures.together([pictures.drawn(1, 1)])

    def seen(self, images):
        with torch.no_grad():
            return features(self.ours(), images)

    def refuses(self, images, *names):
        """By an error that names one of these fields."""
        with pytest.raises(ValueError, match="|".join(names)):
            self.seen(images)

    def further(self):
        """An image, the name of its pixels, and the names of the other fields."""
        image = self.image()
        pixels, *others = image
        return image, pixels, others

    def as_the_reference(self, images):
        """What it gives; an error where it fails, however it does."""
        try:
            with torch.no_grad():
                wanted = features(self.given().model, images)
        except Exception:
            with pytest.raises(ValueError, match=" "):
                self.seen(images)
            return
        close(self.seen(images), wanted)

    def test_sizes_without_pixels_are_an_error(self):
        image, pixels, others = self.further()
        model, ids = self.ours(), self.batch("text").ids
        for name in others:
            with pytest.raises(ValueError, match=f"{name} without {pixels}"):
                model(input_ids=ids, **{name: image[name]})

    def test_pixels_without_their_sizes_are_an_error(self):
        """In cached generation too. Without masks all pixels are real, and without counts each image is a text's."""
        image, _, others = self.further()
        for name in others:
            lacking = {field: value for field, value in image.items() if field != name}
            if name in MASKS or name == COUNTS:
                self.as_the_reference(lacking)
                continue
            self.refuses(lacking, name)
            batch = self.batch("short")
            with pytest.raises(ValueError, match=name):
                self.ours().generate(**{**batch.inputs, name: None}, max_new_tokens=2)

    def test_sizes_of_another_form_are_an_error(self):
        image, pixels, others = self.further()
        for name in COLUMNS.keys() & set(others):
            right = image[name]
            wrong = [right.float(), right > 0, right[0], right[None], right[SMALLER], right[LARGER], -right]
            wrong += [right[:, :1], torch.cat((right, right), dim=1)] if right.dim() == 2 else [right * 0 + 7]
            for value in wrong:
                self.refuses({**image, name: value}, name, pixels, "tiles")
            for value in (right.tolist(), right.int()):
                close(self.seen({**image, name: value}), self.seen(image))

    def test_masks_of_another_form_are_an_error(self):
        image, _, others = self.further()
        for name in MASKS.keys() & set(others):
            right = image[name]
            for value in (right[0], right[None], right[..., SMALLER], right[SMALLER], right[LARGER]):
                self.refuses({**image, name: value}, name)
            if right.dim() == 3:
                self.refuses({**image, name: torch.zeros_like(right)}, name)
            for value in (right.tolist(), right.float(), right.bool()):
                close(self.seen({**image, name: value}), self.seen(image))

    def test_sizes_that_contradict_the_pixels_are_an_error(self):
        """Not those of an image that is cut into tiles, of which several sizes give equally many."""
        image, pixels, others = self.further()
        for name in {*GRIDS, SIZES} & set(others):
            is_tiled = name == SIZES and image[pixels].dim() == 5
            last = torch.tensor([0] * (image[name].shape[1] - 1) + [1])
            for value in () if is_tiled else (image[name] + last, image[name] + last * image[name]):
                self.refuses({**image, name: value}, name)
        several = self.given().drawing.pictures.drawn(2, 1)
        together = self.given().drawing.pictures.together([several])
        for name in {*GRIDS, SIZES, MERGES} & set(others):
            for value in (together[name][SMALLER], together[name][[0, 1, 1]]):
                self.refuses({**together, name: value}, name, "tiles")

    def test_pixels_of_another_form_are_an_error(self):
        image, name, others = self.further()
        right = image[name]
        wrong = [right.tolist(), list(right), right[:0]]
        if set(GRIDS) & set(others):  # patches in a row
            wrong += [
                right[0],
                right[:1],
                right[SMALLER],
                torch.cat((right, right[:1])),
                torch.cat((right, right), dim=1),
            ]
        else:
            wrong += [right[0, 0], right[None, None], right.movedim(-3, -1)]
            wrong += [right.narrow(-3, 0, 1), torch.cat((right, right.narrow(-3, 0, 1)), dim=-3)]
        for pixels in wrong:
            self.refuses({**image, name: pixels}, name)

    def test_patches_may_be_flat_and_have_dimensions_in_front(self):
        image, name, others = self.further()
        if not set(GRIDS) & set(others):
            self.refuses({**image, name: image[name].flatten(1)}, name)
            return
        for pixels in (image[name].flatten(1), image[name][None]):
            close(self.seen({**image, name: pixels}), self.seen(image))

    def test_pixels_are_cast(self):
        """To the dtype of the tower, whatever they are in."""
        image, name, _ = self.further()
        whole = (image[name] * 20).round()
        for dtype in (torch.uint8, torch.int64, torch.bfloat16, torch.float64):
            pixels = whole.abs().to(dtype)
            assert torch.equal(self.seen({**image, name: pixels}), self.seen({**image, name: pixels.float()}))
        with torch.no_grad():
            half = self.ours("base", "split", torch.bfloat16)
            given = [
                features(half, {**image, name: image[name].to(dtype)}) for dtype in (torch.bfloat16, torch.float32)
            ]
        assert given[0].dtype == torch.bfloat16 and torch.equal(*given)

    def test_larger_images(self):
        """Than the tower has positions for, where it looks them up."""
        pictures = self.given().drawing.pictures
        larger = replace(pictures, side=pictures.side + 2 * pictures.patch * pictures.unit)
        height, width = (rows * pictures.unit for rows in (LONG, WIDE))
        image = larger.one(height, width, torch.Generator().manual_seed(1))
        self.as_the_reference(larger.together([[image]]))

    def test_videos_are_an_error(self):
        model, batch = self.ours(), self.batch("short")
        pixels = batch.images[model.model.image_fields[0]]
        for video in ({"pixel_values_videos": pixels}, {"video_grid_thw": torch.ones(1, 3, dtype=torch.long)}):
            with pytest.raises(ValueError, match=next(iter(video))):
                model(**batch.inputs, **video)
            model(**batch.inputs, **dict.fromkeys(video))  # what processors leave empty

    def test_placeholders_in_another_text(self):
        """Are counted over all texts, as the reference does; where an image has places, it must stand in one text."""
        model, batch = self.ours(), self.batch("left")
        ids = batch.ids.clone()
        first = ids[0] == model.model.image_token
        ids[0, first.nonzero()[-1]] = 5
        ids[1, -1] = model.model.image_token
        moved = replace(batch, ids=ids, images={n: v for n, v in batch.images.items() if v.shape != ids.shape})
        moved = replace(moved, images={**moved.images, **self.given().drawing.token_types(ids)})
        if model.model.counts_positions:
            with pytest.raises(ValueError, match="image tokens at place"):
                model(**moved.inputs)
        else:
            ours, reference = self.logits(model, moved), self.given().model
            with asked_of_older(type(reference)):  # some count in each text
                expected = self.logits(reference, moved)
            close(ours, expected)
