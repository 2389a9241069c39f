"""Charts of a study: each file is one kind, from rows to a Vega-Lite specification."""
