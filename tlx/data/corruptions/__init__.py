"""Images made worse in known ways and degrees, to see what a model does outside of what it was trained on."""
