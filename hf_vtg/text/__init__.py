"""Text: words and tokens, tables of word vectors, sentences and paragraphs."""
