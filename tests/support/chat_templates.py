"""Chat templates of tiny models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined %}"
    "{{ 'think ' if enable_thinking else 'no think ' }}{% endif %}{% endif %}"
)


DATED = TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}{{ date_string or strftime_now('%d %b %Y') }} ")


def set_template(folder: Path, template: str | list[dict[str, str]] | None) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "chat_template": template}))
