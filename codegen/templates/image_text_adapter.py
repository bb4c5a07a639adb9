"""Template of `state_dict_adapter.py` of a model of images and text."""

from codegen.templates.holes import stmts
from nemo_automodel.components.models.common.vision.adapter import ImageTextStateDictAdapter


class TemplateStateDictAdapter(ImageTextStateDictAdapter):
    """Where the parts begin, on disk -> in memory; the text model's own rules hold below its place."""

    stmts.attributes
