"""Where captioned pictures come from: a module each, and what they share."""
