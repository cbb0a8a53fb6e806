"""The operator's guide, word for word, and what reads it as a program: `reader` takes its calls out of
the text, `shape` holds an answer against what the guide says the answer looks like. Both are pure."""
