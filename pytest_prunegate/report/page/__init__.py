"""A summary as HTML and Markdown: templates, figures, plots."""
