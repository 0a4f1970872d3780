"""The wording of captions: one rule for articles, shared by pairs, prompts and scores."""

import re

from stages.config.mistakes import UserError

_ARTICLE = re.compile(r"\ba(?= \{\})")


def fill_template(template: str, name: str) -> str:
    """Put a name into the `{}` of a caption template; "a {}" becomes "an {}" before a vowel.

    Raises:
        UserError: The template does not hold exactly one `{}`.
    """
    if template.count("{}") != 1:
        raise UserError(f"caption template {template!r} needs exactly one {{}} for the class name")
    if name[:1].lower() in "aeiou":
        template = _ARTICLE.sub("an", template)
    return template.replace("{}", name)
