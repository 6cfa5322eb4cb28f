"""The claims of the document that the derivation started from, line by line."""
