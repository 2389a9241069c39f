"""Ways of adapting a pre-trained tree, as data: rules over its leaves and adapters added by interception."""
