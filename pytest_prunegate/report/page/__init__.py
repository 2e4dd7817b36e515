"""A summary as HTML and Markdown: templates, figures, plots."""

__all__ = ["candidate_page", "inline_svg", "own_templates", "renderer"]
