"""`codegen review`: what a change of specs changes in the models, for those who review it."""

from codegen.review.reviewing import review

__all__ = ["review"]
